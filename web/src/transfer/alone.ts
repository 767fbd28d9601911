// One tab at a time sends an upload: two would send the same pieces, and each in vain.

import { Stopped } from "./problems.ts";

/**
 * Do `work` while no other tab of this browser works on `href`; `waiting` is called when one does, and `work` hears of it.
 *
 * Browsers offer locks to https and localhost only. Without them the server's rules keep two tabs from doing harm.
 */
export async function alone(href: string, signal: AbortSignal, waiting: () => void, work: (waited: boolean) => Promise<void>): Promise<void> {
  const locks = navigator.locks as LockManager | undefined;
  if (!locks) return work(false);
  const name = `partwise ${href}`;
  let asked = false;
  try {
    const free = await locks.request(name, { ifAvailable: true }, async (lock) => {
      asked = true;
      if (lock) await work(false);
      return lock !== null;
    });
    if (free) return;
    waiting();
    await locks.request(name, { signal }, () => work(true));
  } catch (error) {
    if (error === signal.reason) throw new Stopped();
    // Where cookies are blocked, so are locks.
    if (asked) throw error;
    await work(false);
  }
}
