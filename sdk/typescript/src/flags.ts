// What the kit must know about a command before it sends it.

import { COMMANDS } from "./generated/commands.js";

export const WRITES = 1;
export const EFFECT = 2;
export const WAITS = 4;
export const ATTACHES = 8;
export const SECRET = 16;
export const ALONE = 32;
export const ADMIN = 64;

/** A command of a newer server: nothing may be taken for granted. */
const UNKNOWN = WRITES | EFFECT | ALONE;

/** The flags of a command. */
export function flagsOf(command: string): number {
  return Object.hasOwn(COMMANDS, command) ? (COMMANDS[command] as number) : UNKNOWN;
}

/** Whether a command means the same inside a batch as outside of it. */
export function isBatchable(flags: number): boolean {
  return (flags & (WAITS | ATTACHES | SECRET | ALONE)) === 0;
}

/** Whether a command only looks, so that it can be asked again and of a replica. */
export function isRead(flags: number): boolean {
  return (flags & (WRITES | EFFECT | WAITS | ATTACHES | SECRET | ALONE | ADMIN)) === 0;
}

/** Whether an idempotency key lets a command be repeated. */
export function takesKey(flags: number): boolean {
  return (flags & (WRITES | EFFECT | SECRET | ALONE)) === WRITES;
}
