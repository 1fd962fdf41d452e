// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller, Json } from "../types.js";

/** Payload of admin.slowlog. */
export interface AdminSlowlogPayload {
  /** at least 1; at most 10000; 100 when left out */
  readonly count?: number | undefined;
}

/** A hash of everything a client could observe, and the sequence number of the last change in it. */
export interface AdminDigestResult {
  digest: string;
  lsn: number;
}

/** One entry a command: name, summary, cost, whether it writes, its key fields, routes and JSON Schemas. */
export interface AdminCommandsResult {
  commands: Record<string, Json>[];
}

/** The process: `role` is master or replica. */
export interface AdminServerStats {
  version: string;
  uptime_secs: number;
  role: string;
}

/**
 * Memory: what the data takes by estimate and may take at most (0: no bound), and what the process takes.
 *
 * `rss_bytes` is null where the system does not tell.
 */
export interface AdminMemoryStats {
  used_bytes: number;
  limit_bytes: number;
  rss_bytes: number | null;
}

/** Keys of all types, and how many commands on them ran in the last second. */
export interface AdminKeyStats {
  total_keys: number;
  operations_per_sec: number;
}

/** Queues, and their messages: ready, delayed and in flight. */
export interface AdminQueueStats {
  total_queues: number;
  total_messages: number;
}

/** Rooms, and who is subscribed to them: whoever is subscribed to two of them counts twice. */
export interface AdminStreamStats {
  total_rooms: number;
  total_subscribers: number;
}

/** Topics, and connections that are subscribed to some. */
export interface AdminPubsubStats {
  total_topics: number;
  total_subscribers: number;
}

/** The journal: the number of the last change, its size on disk, and when it is forced there. */
export interface AdminJournalStats {
  lsn: number;
  bytes: number;
  fsync: string;
}

/** The server in numbers; `connections` counts all that are open. */
export interface AdminStatsResult {
  server: AdminServerStats;
  memory: AdminMemoryStats;
  kv: AdminKeyStats;
  queues: AdminQueueStats;
  streams: AdminStreamStats;
  pubsub: AdminPubsubStats;
  journal: AdminJournalStats;
  connections: number;
}

/** `status` is healthy or degraded; `phase` is starting, serving, rebuilding or draining. */
export interface AdminHealthResult {
  status: string;
  version: string;
  role: string;
  uptime_secs: number;
  phase: string;
  components: Record<string, string>;
}

/** A setting in force, and where it came from: default, a file, a variable or a flag. A secret is a mask. */
export interface AdminSetting {
  value: Json;
  origin: string;
}

/** The settings in force, by "section.key". */
export interface AdminConfigResult {
  settings: Record<string, AdminSetting>;
}

/** A command that took long, when it was done, and the first key it named; `trace` is its traceparent. */
export interface AdminSlowCommand {
  at: number;
  command: string;
  key: string | null;
  duration_ms: number;
  client: string;
  request_id: string | null;
  trace: string | null;
}

/** Commands that took long, the newest first. */
export interface AdminSlowlogResult {
  entries: AdminSlowCommand[];
}

/**
 * A connection: `subscriptions` are its feeds and patterns, `outbox` the messages it has not taken yet.
 *
 * `transport` is http, websocket or sse; `user` the name of the credential of its latest request.
 */
export interface AdminClient {
  id: number;
  address: string;
  transport: string;
  user: string | null;
  connected_at: number;
  subscriptions: number;
  outbox: number;
}

/** Who is connected, by id. */
export interface AdminClientsResult {
  clients: AdminClient[];
}

/** Whether a snapshot begins now; false: one is being made. `lsn` was the last change when it began. */
export interface AdminSnapshotResult {
  started: boolean;
  lsn: number;
}

/** Whether it will be done. */
export interface AdminShutdownResult {
  accepted: boolean;
}

/** The commands `admin.*`. */
export class AdminCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Hash the whole state: servers with equal data answer the same.
   *
   * The hash is of one moment, so everybody else waits while it is made: about a second for a million keys.
   *
   * Cost O(n). Since 0.1. Needs a permission for administrators.
   */
  digest(options?: CallOptions): Promise<AdminDigestResult> {
    return this.caller.call("admin.digest", {}, options);
  }

  /**
   * List every command with the JSON Schemas of its payload and result.
   *
   * Cost O(1). Since 0.1.
   */
  commands(options?: CallOptions): Promise<AdminCommandsResult> {
    return this.caller.call("admin.commands", {}, options);
  }

  /**
   * Describe the server in numbers.
   *
   * With many queues or rooms this takes several turns of the server; messages and subscribers are counted meanwhile.
   *
   * Cost O(queues + rooms). Since 0.4. Needs a permission for administrators.
   */
  stats(options?: CallOptions): Promise<AdminStatsResult> {
    return this.caller.call("admin.stats", {}, options);
  }

  /**
   * Tell whether the server works, as GET /health does.
   *
   * Cost O(1). Since 0.4.
   */
  health(options?: CallOptions): Promise<AdminHealthResult> {
    return this.caller.call("admin.health", {}, options);
  }

  /**
   * List the settings in force, each with where it came from. Secrets are masked.
   *
   * Cost O(settings). Since 0.4. Needs a permission for administrators.
   */
  config(options?: CallOptions): Promise<AdminConfigResult> {
    return this.caller.call("admin.config", {}, options);
  }

  /**
   * List the commands that took longer than `log.slow_ms` lately.
   *
   * Cost O(count). Since 0.4. Needs a permission for administrators.
   */
  slowlog(payload: AdminSlowlogPayload = {}, options?: CallOptions): Promise<AdminSlowlogResult> {
    return this.caller.call("admin.slowlog", payload, options);
  }

  /**
   * List the connections.
   *
   * Cost O(connections). Since 0.4. Needs a permission for administrators.
   */
  clients(options?: CallOptions): Promise<AdminClientsResult> {
    return this.caller.call("admin.clients", {}, options);
  }

  /**
   * Have the next snapshot begin now, unless one is being made.
   *
   * Cost O(n), in a process of its own. Since 0.4. Needs a permission for administrators.
   */
  snapshot(options?: CallOptions): Promise<AdminSnapshotResult> {
    return this.caller.call("admin.snapshot", {}, options);
  }

  /**
   * Stop the server once this reply and all others have left. Nothing is lost.
   *
   * Cost O(1). Since 0.4. Needs a permission for administrators.
   */
  shutdown(options?: CallOptions): Promise<AdminShutdownResult> {
    return this.caller.call("admin.shutdown", {}, options);
  }
}
