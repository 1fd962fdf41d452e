// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller } from "../types.js";

/** A command on one key. */
export interface MemoryUsagePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** Bytes the key takes with its value, index entries and expiry; 0 when there is no such key. */
export interface MemoryUsageResult {
  bytes: number;
  human: string;
}

/** The commands `memory.*`. */
export class MemoryCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Estimate the memory a key takes.
   *
   * Cost O(1). Since 0.1.
   */
  usage(payload: MemoryUsagePayload, options?: CallOptions): Promise<MemoryUsageResult> {
    return this.caller.call("memory.usage", payload, options);
  }
}
