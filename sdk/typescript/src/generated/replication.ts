// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller } from "../types.js";

/** Payload of replication.promote. */
export interface ReplicationPromotePayload {
  /** false when left out */
  readonly force?: boolean | undefined;
}

/** Payload of replication.follow; `master` is the URL of another server: http://HOST:PORT. */
export interface ReplicationFollowPayload {
  /** at most 2048 characters */
  readonly master: string;
}

/**
 * A replica of this server, as this server sees it.
 *
 * `lag_ops` counts the records it has not confirmed, `lag_ms` tells for how long the oldest of them has been waiting;
 * `state` is streaming, or catching_up while it is more than a moment behind.
 */
export interface ReplicationFollower {
  id: string;
  address: string;
  acked_lsn: number;
  lag_ops: number;
  lag_ms: number;
  state: "catching_up" | "streaming";
}

/**
 * The server that this one follows. `state` is connecting, streaming, copying, waiting or failed; `reason` why.
 *
 * `lag_ms` tells how long ago this server had everything that the other had then; null when it never had.
 */
export interface ReplicationFollowed {
  address: string | null;
  connected: boolean;
  lag_ms: number | null;
  state: string;
  reason: string | null;
}

/**
 * `history_id` names the newest term of the journal's history, `epoch` counts promotions. `master` is null on one.
 *
 * Servers may follow a replica as well: then both `replicas` and `master` are told.
 */
export interface ReplicationStatusResult {
  role: "master" | "replica";
  lsn: number;
  epoch: number;
  history_id: string;
  replicas: ReplicationFollower[];
  master: ReplicationFollowed | null;
}

/** What this server is now. */
export interface ReplicationPromoteResult {
  role: "master" | "replica";
  epoch: number;
}

/** Whether it has begun. */
export interface ReplicationResyncResult {
  started: boolean;
}

/** What this server is now. */
export interface ReplicationFollowResult {
  role: "master" | "replica";
  epoch: number;
}

/** The commands `replication.*`. */
export class ReplicationCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Tell this server's role, and how far its replicas or it itself are behind.
   *
   * Cost O(replicas). Since 0.5. Needs a permission for administrators.
   */
  status(options?: CallOptions): Promise<ReplicationStatusResult> {
    return this.caller.call("replication.status", {}, options);
  }

  /**
   * Make this replica the master: MASTER_ALIVE while its own one answers, which steps down if `force` is set.
   *
   * Cost O(1). Since 0.5. Needs a permission for administrators.
   */
  promote(payload: ReplicationPromotePayload = {}, options?: CallOptions): Promise<ReplicationPromoteResult> {
    return this.caller.call("replication.promote", payload, options);
  }

  /**
   * Have this replica copy everything anew from the server it follows. False on a master.
   *
   * Cost O(n), beside all else. Since 0.5. Needs a permission for administrators.
   */
  resync(options?: CallOptions): Promise<ReplicationResyncResult> {
    return this.caller.call("replication.resync", {}, options);
  }

  /**
   * Make this server a replica of another. What only this one has is put aside before it takes the other's data.
   *
   * Cost O(1). Since 0.5. Needs a permission for administrators.
   */
  follow(payload: ReplicationFollowPayload, options?: CallOptions): Promise<ReplicationFollowResult> {
    return this.caller.call("replication.follow", payload, options);
  }
}
