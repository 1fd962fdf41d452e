// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller } from "../types.js";

/** A command on one key. */
export interface KeyTypePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** A command on one key. */
export interface KeyExistsPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** Payload of key.rename and key.renamenx. */
export interface KeyRenamePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly source: string;
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
}

/** Payload of key.rename and key.renamenx. */
export interface KeyRenamenxPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly source: string;
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
}

/** Payload of key.copy. */
export interface KeyCopyPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly source: string;
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  /** false when left out */
  readonly replace?: boolean | undefined;
}

/** Payload of key.randomkey. */
export interface KeyRandomkeyPayload {
  /** at least 0 */
  readonly seed?: number | null | bigint | undefined;
}

/** "none", or string, hash, list, set, sortedset. */
export interface KeyTypeResult {
  type: string;
}

/** Whether the key is there. */
export interface KeyExistsResult {
  exists: boolean;
}

/** Whether the command found what it needed. */
export interface KeyRenameResult {
  success: boolean;
}

/** Whether the command found what it needed. */
export interface KeyRenamenxResult {
  success: boolean;
}

/** Whether the command found what it needed. */
export interface KeyCopyResult {
  success: boolean;
}

/** A key, or null when there are none. */
export interface KeyRandomkeyResult {
  key: string | null;
}

/** The commands `key.*`. */
export class KeyCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Tell what type a key holds.
   *
   * Cost O(1). Since 0.1.
   */
  type(payload: KeyTypePayload, options?: CallOptions): Promise<KeyTypeResult> {
    return this.caller.call("key.type", payload, options);
  }

  /**
   * Tell whether a key exists.
   *
   * Cost O(1). Since 0.1.
   */
  exists(payload: KeyExistsPayload, options?: CallOptions): Promise<KeyExistsResult> {
    return this.caller.call("key.exists", payload, options);
  }

  /**
   * Rename a key, with its expiry, over whatever the destination held.
   *
   * Cost O(log n). Since 0.1.
   */
  rename(payload: KeyRenamePayload, options?: CallOptions): Promise<KeyRenameResult> {
    return this.caller.call("key.rename", payload, options);
  }

  /**
   * Rename a key, with its expiry, unless the destination exists.
   *
   * Cost O(log n). Since 0.1.
   */
  renamenx(payload: KeyRenamenxPayload, options?: CallOptions): Promise<KeyRenamenxResult> {
    return this.caller.call("key.renamenx", payload, options);
  }

  /**
   * Copy a key, with its expiry; false when there is no source, or a destination and `replace` is not set.
   *
   * Cost O(size of the value). Since 0.1.
   */
  copy(payload: KeyCopyPayload, options?: CallOptions): Promise<KeyCopyResult> {
    return this.caller.call("key.copy", payload, options);
  }

  /**
   * Return some key, each with the same chance.
   *
   * Cost O(log n). Since 0.1.
   */
  randomkey(payload: KeyRandomkeyPayload = {}, options?: CallOptions): Promise<KeyRandomkeyResult> {
    return this.caller.call("key.randomkey", payload, options);
  }
}
