// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller } from "../types.js";

/** A command on one member or several. */
export interface SetAddPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member?: string | null | undefined;
  readonly members?: readonly string[] | null | undefined;
}

/** A command on one member or several. */
export interface SetRemPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member?: string | null | undefined;
  readonly members?: readonly string[] | null | undefined;
}

/** A command on one member or several. */
export interface SetIsmemberPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member?: string | null | undefined;
  readonly members?: readonly string[] | null | undefined;
}

/** A command on one key. */
export interface SetMembersPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** A command on one key. */
export interface SetCardPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** Payload of set.pop. */
export interface SetPopPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** at least 0; 1 when left out */
  readonly count?: number | bigint | undefined;
  /** at least 0 */
  readonly seed?: number | null | bigint | undefined;
}

/** Payload of set.randmember; a negative `count` allows repeats. */
export interface SetRandmemberPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** 1 when left out */
  readonly count?: number | bigint | undefined;
  /** at least 0 */
  readonly seed?: number | null | bigint | undefined;
}

/** Payload of set.move. */
export interface SetMovePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly source: string;
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  readonly member: string;
}

/** A command on several sets; an absent one counts as empty. */
export interface SetInterPayload {
  /** at least 1 of them */
  readonly keys: readonly string[];
}

/** A command on several sets; an absent one counts as empty. */
export interface SetUnionPayload {
  /** at least 1 of them */
  readonly keys: readonly string[];
}

/** A command on several sets; an absent one counts as empty. */
export interface SetDiffPayload {
  /** at least 1 of them */
  readonly keys: readonly string[];
}

/** Payload of set.interstore, unionstore and diffstore. */
export interface SetInterstorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  /** at least 1 of them */
  readonly keys: readonly string[];
}

/** Payload of set.interstore, unionstore and diffstore. */
export interface SetUnionstorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  /** at least 1 of them */
  readonly keys: readonly string[];
}

/** Payload of set.interstore, unionstore and diffstore. */
export interface SetDiffstorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  /** at least 1 of them */
  readonly keys: readonly string[];
}

/** Payload of set.scan. `match` is a glob on the members. */
export interface SetScanPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly match?: string | null | undefined;
  readonly cursor?: string | null | undefined;
  /** at least 1; at most 10000; 100 when left out */
  readonly count?: number | undefined;
}

/** How many members are new. */
export interface SetAddResult {
  added: number;
}

/** How many were there and are gone. */
export interface SetRemResult {
  removed: number;
}

/** `is_member` for a single member asked for, `results` for several; the other one is null. */
export interface SetIsmemberResult {
  is_member: boolean | null;
  results: boolean[] | null;
}

/** Members of a set. */
export interface SetMembersResult {
  members: string[];
}

/** Number of members. */
export interface SetCardResult {
  count: number;
}

/** Members of a set. */
export interface SetPopResult {
  members: string[];
}

/** Members of a set. */
export interface SetRandmemberResult {
  members: string[];
}

/** Whether the member was there. */
export interface SetMoveResult {
  moved: boolean;
}

/** Members of a set. */
export interface SetInterResult {
  members: string[];
}

/** Members of a set. */
export interface SetUnionResult {
  members: string[];
}

/** Members of a set. */
export interface SetDiffResult {
  members: string[];
}

/** Number of members. */
export interface SetInterstoreResult {
  count: number;
}

/** Number of members. */
export interface SetUnionstoreResult {
  count: number;
}

/** Number of members. */
export interface SetDiffstoreResult {
  count: number;
}

/** A page of members; `cursor` is null at the end. It may hold fewer than `count`, even none. */
export interface SetScanResult {
  members: string[];
  cursor: string | null;
  has_more: boolean;
}

/** Keys of one type, what they hold, their memory, and how often each command ran since the server started. */
export interface SetStatsResult {
  total_keys: number;
  total_elements: number;
  memory_bytes: number;
  operations: Record<string, number>;
}

/** The commands `set.*`. */
export class SetCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Add members.
   *
   * Cost O(members). Since 0.2.
   */
  add(payload: SetAddPayload, options?: CallOptions): Promise<SetAddResult> {
    return this.caller.call("set.add", payload, options);
  }

  /**
   * Remove members; a set without any is gone.
   *
   * Cost O(members). Since 0.2.
   */
  rem(payload: SetRemPayload, options?: CallOptions): Promise<SetRemResult> {
    return this.caller.call("set.rem", payload, options);
  }

  /**
   * Tell whether members are in the set.
   *
   * Cost O(members). Since 0.2.
   */
  ismember(payload: SetIsmemberPayload, options?: CallOptions): Promise<SetIsmemberResult> {
    return this.caller.call("set.ismember", payload, options);
  }

  /**
   * List all members, in the order they were added.
   *
   * Cost O(n). Since 0.2.
   */
  members(payload: SetMembersPayload, options?: CallOptions): Promise<SetMembersResult> {
    return this.caller.call("set.members", payload, options);
  }

  /**
   * Count the members.
   *
   * Cost O(1). Since 0.2.
   */
  card(payload: SetCardPayload, options?: CallOptions): Promise<SetCardResult> {
    return this.caller.call("set.card", payload, options);
  }

  /**
   * Take out members at random.
   *
   * Cost O(count log n); the first one O(n log n). Since 0.2.
   */
  pop(payload: SetPopPayload, options?: CallOptions): Promise<SetPopResult> {
    return this.caller.call("set.pop", payload, options);
  }

  /**
   * Pick members at random and leave them in: different ones, or any number with a negative `count`.
   *
   * Cost O(count log n); the first one O(n log n). Since 0.2.
   */
  randmember(payload: SetRandmemberPayload, options?: CallOptions): Promise<SetRandmemberResult> {
    return this.caller.call("set.randmember", payload, options);
  }

  /**
   * Move a member from one set to another.
   *
   * Cost O(1). Since 0.2.
   */
  move(payload: SetMovePayload, options?: CallOptions): Promise<SetMoveResult> {
    return this.caller.call("set.move", payload, options);
  }

  /**
   * List the members that all sets have.
   *
   * Cost O(smallest x sets). Since 0.2.
   */
  inter(payload: SetInterPayload, options?: CallOptions): Promise<SetInterResult> {
    return this.caller.call("set.inter", payload, options);
  }

  /**
   * List the members that any of the sets has.
   *
   * Cost O(members of all). Since 0.2.
   */
  union(payload: SetUnionPayload, options?: CallOptions): Promise<SetUnionResult> {
    return this.caller.call("set.union", payload, options);
  }

  /**
   * List the members of the first set that no other has.
   *
   * Cost O(members of the first x sets). Since 0.2.
   */
  diff(payload: SetDiffPayload, options?: CallOptions): Promise<SetDiffResult> {
    return this.caller.call("set.diff", payload, options);
  }

  /**
   * Store the members that all sets have, over whatever the destination held.
   *
   * Cost O(smallest x sets). Since 0.2.
   */
  interstore(payload: SetInterstorePayload, options?: CallOptions): Promise<SetInterstoreResult> {
    return this.caller.call("set.interstore", payload, options);
  }

  /**
   * Store the members that any of the sets has, over whatever the destination held.
   *
   * Cost O(members of all). Since 0.2.
   */
  unionstore(payload: SetUnionstorePayload, options?: CallOptions): Promise<SetUnionstoreResult> {
    return this.caller.call("set.unionstore", payload, options);
  }

  /**
   * Store the members of the first set that no other has, over whatever the destination held.
   *
   * Cost O(members of the first x sets). Since 0.2.
   */
  diffstore(payload: SetDiffstorePayload, options?: CallOptions): Promise<SetDiffstoreResult> {
    return this.caller.call("set.diffstore", payload, options);
  }

  /**
   * Page through members in byte order. A member that is there from first page to last comes exactly once.
   *
   * Cost O(log n + members looked at); the first one O(n log n). Since 0.2.
   */
  scan(payload: SetScanPayload, options?: CallOptions): Promise<SetScanResult> {
    return this.caller.call("set.scan", payload, options);
  }

  /**
   * Describe all sets together.
   *
   * Cost O(1). Since 0.2.
   */
  stats(options?: CallOptions): Promise<SetStatsResult> {
    return this.caller.call("set.stats", {}, options);
  }
}
