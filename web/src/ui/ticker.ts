// Bytes move many thousand times a minute; a person is well served by a few pictures a second.

const INTERVAL_MS = 125;

export class Ticker {
  readonly #listeners = new Set<() => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Something has changed: tell the listeners soon, once. */
  readonly tick = (): void => {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      for (const listener of this.#listeners) listener();
    }, INTERVAL_MS);
  };

  /** Call `listener` after changes; answers how to stop that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
