// The same call for many things.

/** So many at the same time: the rest of the browser's connections are left to uploads. */
const AT_ONCE = 4;

/** Call `work` for each of `items`, a few at a time, for all of them; then raise what the first failure raised. */
export async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  const faults: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item).catch((error: unknown) => faults.push(error));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (faults.length > 0) throw faults[0];
}
