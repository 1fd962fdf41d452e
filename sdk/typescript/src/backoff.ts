// How long to wait before the next attempt.

const FIRST_MS = 50;
const MAX_MS = 2_000;

/** Milliseconds after so many failures, 1 or more: twice as long each time, and random, so that clients do not come all at once. */
export function backoffMs(failures: number): number {
  const most = Math.min(FIRST_MS * 2 ** (failures - 1), MAX_MS);
  return most * (0.5 + Math.random() / 2);
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
