// The errors of the kit: those that servers answer (generated, one class a code), and two of its own.

import { SynapError } from "./base-error.js";
import { ERRORS } from "./generated/errors.js";
import type { Json } from "./types.js";

export { SynapError } from "./base-error.js";
export * from "./generated/errors.js";

/** The server cannot be reached, or the connection broke. */
export class ConnectionError extends SynapError {
  override readonly code: string = "CONNECTION_FAILED";
  override readonly name: string = "ConnectionError";
  /** The call was sent and not answered: it may have happened or not. */
  readonly maybeDone: boolean;

  constructor(message: string, maybeDone: boolean, cause?: unknown) {
    super(maybeDone ? `${message}; the call may or may not have happened` : message, {}, { cause });
    this.maybeDone = maybeDone;
  }
}

/** No answer within `timeoutMs`. `cause` is what the last attempt failed with, if there was one. */
export class TimeoutError extends SynapError {
  override readonly code: string = "TIMEOUT";
  override readonly name: string = "TimeoutError";
  /** The call was sent and not answered: it may have happened or not. */
  readonly maybeDone: boolean;

  constructor(message: string, maybeDone: boolean, cause?: unknown) {
    super(maybeDone ? `${message}; the call may or may not have happened` : message, {}, { cause });
    this.maybeDone = maybeDone;
  }
}

/** A refusal with a code that this version of the kit does not know. */
export class OtherError extends SynapError {
  override readonly code: string;
  override readonly name: string = "OtherError";

  constructor(code: string, message: string, details: Readonly<Record<string, Json>>) {
    super(message, details);
    this.code = code;
  }
}

/** The `error` object of a reply. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly details?: Readonly<Record<string, Json>>;
}

/** The error that a reply stands for. */
export function errorFrom({ code, message, details = {} }: Failure): SynapError {
  const known = Object.hasOwn(ERRORS, code) ? ERRORS[code] : undefined;
  return known === undefined ? new OtherError(code, message, details) : new known(message, details);
}
