// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller } from "../types.js";

/**
 * Payload of sortedset.zadd.
 *
 * `nx` only adds, `xx` only changes, `gt` and `lt` change only to a greater or smaller score; `ch` counts changed
 * members too; `incr` adds to the score of a single member.
 */
export interface SortedsetZaddPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member?: string | null | undefined;
  readonly score?: number | "+inf" | "-inf" | "inf" | null | undefined;
  /** at least 1 of them */
  readonly members?: readonly SortedsetGivenScore[] | null | undefined;
  /** false when left out */
  readonly nx?: boolean | undefined;
  /** false when left out */
  readonly xx?: boolean | undefined;
  /** false when left out */
  readonly gt?: boolean | undefined;
  /** false when left out */
  readonly lt?: boolean | undefined;
  /** false when left out */
  readonly ch?: boolean | undefined;
  /** false when left out */
  readonly incr?: boolean | undefined;
}

/** A command on one member or several. */
export interface SortedsetZremPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member?: string | null | undefined;
  readonly members?: readonly string[] | null | undefined;
}

/** A command on one member. */
export interface SortedsetZscorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member: string;
}

/** Payload of sortedset.zmscore. */
export interface SortedsetZmscorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly members: readonly string[];
}

/** A command on one key. */
export interface SortedsetZcardPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** Scores from `min` to `max`, both included unless written as "(5"; "-inf" and "+inf" are the ends. */
export interface SortedsetZcountPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly min: number | string;
  readonly max: number | string;
}

/** Payload of sortedset.zincrby. */
export interface SortedsetZincrbyPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member: string;
  readonly increment: number | "+inf" | "-inf" | "inf";
}

/** A command on one member. */
export interface SortedsetZrankPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member: string;
}

/** A command on one member. */
export interface SortedsetZrevrankPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly member: string;
}

/** First and last rank, negatives from the end. */
export interface SortedsetZrangePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** 0 when left out */
  readonly start?: number | bigint | undefined;
  /** -1 when left out */
  readonly stop?: number | bigint | undefined;
}

/** First and last rank, negatives from the end. */
export interface SortedsetZrevrangePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** 0 when left out */
  readonly start?: number | bigint | undefined;
  /** -1 when left out */
  readonly stop?: number | bigint | undefined;
}

/** A range of scores, of which `offset` members are left out and `count` given; all when it is absent. */
export interface SortedsetZrangebyscorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly min: number | string;
  readonly max: number | string;
  /** 0 when left out */
  readonly offset?: number | bigint | undefined;
  readonly count?: number | null | bigint | undefined;
}

/** A range of scores, of which `offset` members are left out and `count` given; all when it is absent. */
export interface SortedsetZrevrangebyscorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly min: number | string;
  readonly max: number | string;
  /** 0 when left out */
  readonly offset?: number | bigint | undefined;
  readonly count?: number | null | bigint | undefined;
}

/** Payload of sortedset.zpopmin and zpopmax. */
export interface SortedsetZpopminPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** at least 0; 1 when left out */
  readonly count?: number | bigint | undefined;
}

/** Payload of sortedset.zpopmin and zpopmax. */
export interface SortedsetZpopmaxPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** at least 0; 1 when left out */
  readonly count?: number | bigint | undefined;
}

/**
 * A command that takes from the first of several keys that has something. A `timeout` of 0 waits for ever.
 *
 * Timeouts are in seconds, decimals allowed, and end at `limits.max_wait_secs` of the server.
 */
export interface SortedsetBzpopminPayload {
  /** at least 1 of them; at most 10000 of them */
  readonly keys: readonly string[];
  /** at least 0 */
  readonly timeout: number;
}

/**
 * A command that takes from the first of several keys that has something. A `timeout` of 0 waits for ever.
 *
 * Timeouts are in seconds, decimals allowed, and end at `limits.max_wait_secs` of the server.
 */
export interface SortedsetBzpopmaxPayload {
  /** at least 1 of them; at most 10000 of them */
  readonly keys: readonly string[];
  /** at least 0 */
  readonly timeout: number;
}

/** Payload of sortedset.zremrangebyrank: first and last rank, negatives from the end. */
export interface SortedsetZremrangebyrankPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly start: number | bigint;
  readonly stop: number | bigint;
}

/** Scores from `min` to `max`, both included unless written as "(5"; "-inf" and "+inf" are the ends. */
export interface SortedsetZremrangebyscorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly min: number | string;
  readonly max: number | string;
}

/** Payload of sortedset.zscan. `match` is a glob on the members. */
export interface SortedsetZscanPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly match?: string | null | undefined;
  readonly cursor?: string | null | undefined;
  /** at least 1; at most 10000; 100 when left out */
  readonly count?: number | undefined;
}

/**
 * Payload of the storing commands. The keys may hold sorted sets, or sets, whose members count as of score 1.
 *
 * Scores are multiplied by the weight of their key; `aggregate` says what becomes of the scores of one member.
 */
export interface SortedsetZunionstorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  /** at least 1 of them */
  readonly keys: readonly string[];
  readonly weights?: readonly (number | "+inf" | "-inf" | "inf")[] | null | undefined;
  /** "sum" when left out */
  readonly aggregate?: "max" | "min" | "sum" | undefined;
}

/**
 * Payload of the storing commands. The keys may hold sorted sets, or sets, whose members count as of score 1.
 *
 * Scores are multiplied by the weight of their key; `aggregate` says what becomes of the scores of one member.
 */
export interface SortedsetZinterstorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  /** at least 1 of them */
  readonly keys: readonly string[];
  readonly weights?: readonly (number | "+inf" | "-inf" | "inf")[] | null | undefined;
  /** "sum" when left out */
  readonly aggregate?: "max" | "min" | "sum" | undefined;
}

/** Payload of sortedset.zdiffstore. The keys may hold sorted sets, or sets, whose members count as of score 1. */
export interface SortedsetZdiffstorePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  /** at least 1 of them */
  readonly keys: readonly string[];
}

/** A member and the score to give it. */
export interface SortedsetGivenScore {
  readonly member: string;
  readonly score: number | "+inf" | "-inf" | "inf";
}

/**
 * `added` counts new members, with `ch` changed ones too; with `incr`, `score` is the new score.
 *
 * That is null when the options did not let it change.
 */
export interface SortedsetZaddResult {
  added: number;
  score?: number | string | null;
}

/** How many were there and are gone. */
export interface SortedsetZremResult {
  removed: number;
}

/** The score of a member, null when it is not there. */
export interface SortedsetZscoreResult {
  found: boolean;
  score: number | string | null;
}

/** A score for each member asked for, null where there is none. */
export interface SortedsetZmscoreResult {
  scores: (number | string | null)[];
}

/** Number of members. */
export interface SortedsetZcardResult {
  count: number;
}

/** Number of members. */
export interface SortedsetZcountResult {
  count: number;
}

/** The score after the change. */
export interface SortedsetZincrbyResult {
  score: number | string;
}

/** How many members come before it, and its score; null when it is not there. */
export interface SortedsetZrankResult {
  rank: number | null;
  score: number | string | null;
}

/** How many members come before it, and its score; null when it is not there. */
export interface SortedsetZrevrankResult {
  rank: number | null;
  score: number | string | null;
}

/** A member with its score; infinities are "+inf" and "-inf". */
export interface SortedsetScored {
  member: string;
  score: number | string;
}

/** Members with their scores, in the order of the command. */
export interface SortedsetZrangeResult {
  members: SortedsetScored[];
}

/** Members with their scores, in the order of the command. */
export interface SortedsetZrevrangeResult {
  members: SortedsetScored[];
}

/** Members with their scores, in the order of the command. */
export interface SortedsetZrangebyscoreResult {
  members: SortedsetScored[];
}

/** Members with their scores, in the order of the command. */
export interface SortedsetZrevrangebyscoreResult {
  members: SortedsetScored[];
}

/** Members with their scores, in the order of the command. */
export interface SortedsetZpopminResult {
  members: SortedsetScored[];
}

/** Members with their scores, in the order of the command. */
export interface SortedsetZpopmaxResult {
  members: SortedsetScored[];
}

/** A member, its score and the sorted set it came from; all null when nothing came in time. */
export interface SortedsetBzpopminResult {
  key: string | null;
  member: string | null;
  score: number | string | null;
}

/** A member, its score and the sorted set it came from; all null when nothing came in time. */
export interface SortedsetBzpopmaxResult {
  key: string | null;
  member: string | null;
  score: number | string | null;
}

/** How many were there and are gone. */
export interface SortedsetZremrangebyrankResult {
  removed: number;
}

/** How many were there and are gone. */
export interface SortedsetZremrangebyscoreResult {
  removed: number;
}

/** A page of members with their scores; `cursor` is null at the end. It may hold fewer than `count`, even none. */
export interface SortedsetZscanResult {
  members: SortedsetScored[];
  cursor: string | null;
  has_more: boolean;
}

/** Keys of one type, what they hold, their memory, and how often each command ran since the server started. */
export interface SortedsetStatsResult {
  total_keys: number;
  total_elements: number;
  memory_bytes: number;
  operations: Record<string, number>;
}

/** Number of members. */
export interface SortedsetZunionstoreResult {
  count: number;
}

/** Number of members. */
export interface SortedsetZinterstoreResult {
  count: number;
}

/** Number of members. */
export interface SortedsetZdiffstoreResult {
  count: number;
}

/** The commands `sortedset.*`. */
export class SortedsetCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Add members, or change their scores.
   *
   * Cost O(members x log n). Since 0.2.
   */
  zadd(payload: SortedsetZaddPayload, options?: CallOptions): Promise<SortedsetZaddResult> {
    return this.caller.call("sortedset.zadd", payload, options);
  }

  /**
   * Remove members; a sorted set without any is gone.
   *
   * Cost O(members x log n). Since 0.2.
   */
  zrem(payload: SortedsetZremPayload, options?: CallOptions): Promise<SortedsetZremResult> {
    return this.caller.call("sortedset.zrem", payload, options);
  }

  /**
   * Read the score of a member.
   *
   * Cost O(1). Since 0.2.
   */
  zscore(payload: SortedsetZscorePayload, options?: CallOptions): Promise<SortedsetZscoreResult> {
    return this.caller.call("sortedset.zscore", payload, options);
  }

  /**
   * Read the scores of several members.
   *
   * Cost O(members). Since 0.2.
   */
  zmscore(payload: SortedsetZmscorePayload, options?: CallOptions): Promise<SortedsetZmscoreResult> {
    return this.caller.call("sortedset.zmscore", payload, options);
  }

  /**
   * Count the members.
   *
   * Cost O(1). Since 0.2.
   */
  zcard(payload: SortedsetZcardPayload, options?: CallOptions): Promise<SortedsetZcardResult> {
    return this.caller.call("sortedset.zcard", payload, options);
  }

  /**
   * Count the members with scores in a range.
   *
   * Cost O(log n). Since 0.2.
   */
  zcount(payload: SortedsetZcountPayload, options?: CallOptions): Promise<SortedsetZcountResult> {
    return this.caller.call("sortedset.zcount", payload, options);
  }

  /**
   * Add to the score of a member; an absent one counts as 0.
   *
   * Cost O(log n). Since 0.2.
   */
  zincrby(payload: SortedsetZincrbyPayload, options?: CallOptions): Promise<SortedsetZincrbyResult> {
    return this.caller.call("sortedset.zincrby", payload, options);
  }

  /**
   * Tell the place of a member, the lowest score first.
   *
   * Cost O(log n). Since 0.2.
   */
  zrank(payload: SortedsetZrankPayload, options?: CallOptions): Promise<SortedsetZrankResult> {
    return this.caller.call("sortedset.zrank", payload, options);
  }

  /**
   * Tell the place of a member, the highest score first.
   *
   * Cost O(log n). Since 0.2.
   */
  zrevrank(payload: SortedsetZrevrankPayload, options?: CallOptions): Promise<SortedsetZrevrankResult> {
    return this.caller.call("sortedset.zrevrank", payload, options);
  }

  /**
   * List the members between two ranks, the lowest score first.
   *
   * Cost O(log n + result). Since 0.2.
   */
  zrange(payload: SortedsetZrangePayload, options?: CallOptions): Promise<SortedsetZrangeResult> {
    return this.caller.call("sortedset.zrange", payload, options);
  }

  /**
   * List the members between two ranks, the highest score first.
   *
   * Cost O(log n + result). Since 0.2.
   */
  zrevrange(payload: SortedsetZrevrangePayload, options?: CallOptions): Promise<SortedsetZrevrangeResult> {
    return this.caller.call("sortedset.zrevrange", payload, options);
  }

  /**
   * List the members with scores in a range, the lowest first.
   *
   * Cost O(log n + result). Since 0.2.
   */
  zrangebyscore(payload: SortedsetZrangebyscorePayload, options?: CallOptions): Promise<SortedsetZrangebyscoreResult> {
    return this.caller.call("sortedset.zrangebyscore", payload, options);
  }

  /**
   * List the members with scores in a range, the highest first.
   *
   * Cost O(log n + result). Since 0.2.
   */
  zrevrangebyscore(
    payload: SortedsetZrevrangebyscorePayload,
    options?: CallOptions,
  ): Promise<SortedsetZrevrangebyscoreResult> {
    return this.caller.call("sortedset.zrevrangebyscore", payload, options);
  }

  /**
   * Take out the members with the lowest scores.
   *
   * Cost O(count x log n). Since 0.2.
   */
  zpopmin(payload: SortedsetZpopminPayload, options?: CallOptions): Promise<SortedsetZpopminResult> {
    return this.caller.call("sortedset.zpopmin", payload, options);
  }

  /**
   * Take out the members with the highest scores.
   *
   * Cost O(count x log n). Since 0.2.
   */
  zpopmax(payload: SortedsetZpopmaxPayload, options?: CallOptions): Promise<SortedsetZpopmaxResult> {
    return this.caller.call("sortedset.zpopmax", payload, options);
  }

  /**
   * Take the lowest member of the first sorted set that has any; wait for one when none has.
   *
   * Cost O(keys + log n). Since 0.2.
   */
  bzpopmin(payload: SortedsetBzpopminPayload, options?: CallOptions): Promise<SortedsetBzpopminResult> {
    return this.caller.call("sortedset.bzpopmin", payload, options);
  }

  /**
   * Take the highest member of the first sorted set that has any; wait for one when none has.
   *
   * Cost O(keys + log n). Since 0.2.
   */
  bzpopmax(payload: SortedsetBzpopmaxPayload, options?: CallOptions): Promise<SortedsetBzpopmaxResult> {
    return this.caller.call("sortedset.bzpopmax", payload, options);
  }

  /**
   * Remove the members between two ranks, both included.
   *
   * Cost O(log n + removed). Since 0.2.
   */
  zremrangebyrank(
    payload: SortedsetZremrangebyrankPayload,
    options?: CallOptions,
  ): Promise<SortedsetZremrangebyrankResult> {
    return this.caller.call("sortedset.zremrangebyrank", payload, options);
  }

  /**
   * Remove the members with scores in a range.
   *
   * Cost O(log n + removed). Since 0.2.
   */
  zremrangebyscore(
    payload: SortedsetZremrangebyscorePayload,
    options?: CallOptions,
  ): Promise<SortedsetZremrangebyscoreResult> {
    return this.caller.call("sortedset.zremrangebyscore", payload, options);
  }

  /**
   * Page through members in byte order. A member that is there from first page to last comes exactly once.
   *
   * Cost O(log n + members looked at); the first one O(n log n). Since 0.2.
   */
  zscan(payload: SortedsetZscanPayload, options?: CallOptions): Promise<SortedsetZscanResult> {
    return this.caller.call("sortedset.zscan", payload, options);
  }

  /**
   * Describe all sorted sets together.
   *
   * Cost O(1). Since 0.2.
   */
  stats(options?: CallOptions): Promise<SortedsetStatsResult> {
    return this.caller.call("sortedset.stats", {}, options);
  }

  /**
   * Store the members that any of the keys has, over whatever the destination held.
   *
   * Cost O(members of all x log n). Since 0.2.
   */
  zunionstore(payload: SortedsetZunionstorePayload, options?: CallOptions): Promise<SortedsetZunionstoreResult> {
    return this.caller.call("sortedset.zunionstore", payload, options);
  }

  /**
   * Store the members that all keys have, over whatever the destination held.
   *
   * Cost O(smallest x keys + result x log n). Since 0.2.
   */
  zinterstore(payload: SortedsetZinterstorePayload, options?: CallOptions): Promise<SortedsetZinterstoreResult> {
    return this.caller.call("sortedset.zinterstore", payload, options);
  }

  /**
   * Store the members of the first key that no other has, over whatever the destination held.
   *
   * Cost O(members of the first x keys + result x log n). Since 0.2.
   */
  zdiffstore(payload: SortedsetZdiffstorePayload, options?: CallOptions): Promise<SortedsetZdiffstoreResult> {
    return this.caller.call("sortedset.zdiffstore", payload, options);
  }
}
