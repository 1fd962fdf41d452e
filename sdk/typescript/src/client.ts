// The client: which server a call goes to, and what is done when it does not come through.

import { backoffMs } from "./backoff.js";
import { Batch, type BatchOptions } from "./batch.js";
import { type Call, commandCall, waitMs } from "./call.js";
import { Credentials, type Token } from "./credentials.js";
import {
  ConnectionError,
  InvalidRequestError,
  NeedsWebsocketError,
  RateLimitExceededError,
  ReadOnlyError,
  UnauthorizedError,
  UnavailableError,
} from "./errors.js";
import { ATTACHES, flagsOf, isRead, takesKey } from "./flags.js";
import type { Entry } from "./frame.js";
import { Namespaces } from "./generated/namespaces.js";
import { HttpLink } from "./http-link.js";
import type { Link } from "./link.js";
import { PubSub } from "./pubsub.js";
import { Queues } from "./queue.js";
import { type Feed, SocketLink } from "./socket-link.js";
import { Streams } from "./stream.js";
import type { Feeder } from "./subscription.js";
import type { Ack, Caller, CallOptions } from "./types.js";

const TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
const HEARTBEAT_MS = 20_000;
// After a replica has not answered, the master is asked for so long.
const REPLICA_REST_MS = 5_000;

export interface SynapOptions {
  /** Of the server: `http://` or `https://`, host and port. */
  readonly url?: string | undefined;
  readonly apiKey?: string | undefined;
  /** A JWT, or what returns a fresh one whenever a connection is made. */
  readonly token?: Token | undefined;
  /** With `password`: a token is got for them, and another one when it is over. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** One WebSocket for everything, or a request for every frame; the latter knows no subscriptions. */
  readonly transport?: "websocket" | "http" | undefined;
  /** Milliseconds that a call may take, retries included; 10,000 unless said otherwise, 0 for ever. */
  readonly timeoutMs?: number | undefined;
  /** For every call that does not say otherwise. */
  readonly ack?: Ack | undefined;
  /** Other servers with the same data: they are tried when `url` does not answer. */
  readonly replicas?: readonly string[] | undefined;
  /** Where commands that only look go; what a replica answers may be a moment old. */
  readonly readFrom?: "master" | "replica" | undefined;
  /** Give every write that takes one an idempotency key, so that it can be sent again when a connection breaks. */
  readonly retryWrites?: boolean | undefined;
  /** False: a call is sent once. */
  readonly retry?: boolean | undefined;
  /** Integers past 2^53 come as bigints; else they are rounded, as JSON.parse does. */
  readonly bigints?: boolean | undefined;
  readonly connectTimeoutMs?: number | undefined;
  /** A connection in use that has said nothing for twice as long counts as broken. */
  readonly heartbeatMs?: number | undefined;
}

/** A client of one Synap server and its replicas. `close` it when it is not needed any more. */
export class Synap extends Namespaces implements Caller {
  declare readonly stream: Streams;
  declare readonly pubsub: PubSub;
  declare readonly queue: Queues;
  private readonly options: SynapOptions;
  private readonly credentials: Credentials;
  private readonly master: Link;
  private readonly replica: Link | null;
  /** Of subscriptions that cannot share a connection with another one. */
  private readonly extra = new Set<SocketLink>();
  private readonly keyPrefix = Array.from({ length: 3 }, () => Math.random().toString(36).slice(2)).join("");
  private keys = 0;
  private isClosed = false;
  private replicaRestsUntil = 0;

  constructor(options: SynapOptions = {}) {
    const caller: Caller = {
      call: (command, payload, callOptions) => this.call(command, payload, callOptions),
    };
    super(caller);
    this.options = options;
    this.credentials = new Credentials(options);
    const replicas = options.replicas ?? [];
    const urls = [options.url ?? "http://127.0.0.1:15500", ...replicas];
    this.master = this.link(urls, true);
    // One replica for all reads, so that nobody sees something older than before; which one, chance decides.
    this.replica = options.readFrom === "replica" && replicas.length > 0 ? this.link(shuffled(replicas), false) : null;
    const feeder = this.feeder();
    this.stream = new Streams(caller, feeder);
    this.pubsub = new PubSub(caller, feeder);
    this.queue = new Queues(caller, () => this.ownFeeder());
  }

  /** Run any command by its name. Throws SynapError. */
  call<R = unknown>(command: string, payload: object = {}, options: CallOptions = {}): Promise<R> {
    return this.perform<R>(command, payload, options);
  }

  /** Commands that run one after the other, with nobody else's between them. */
  batch(options: BatchOptions = {}): Batch {
    return new Batch((call, callOptions) => this.run<Entry[]>(call, callOptions, 0), options, this.options.ack);
  }

  /** Close all connections. What has not been answered fails; subscriptions end. */
  async close(): Promise<void> {
    this.isClosed = true;
    for (const link of [this.master, this.replica, ...this.extra]) link?.close();
    this.extra.clear();
  }

  private async perform<R>(command: string, payload: object, options: CallOptions): Promise<R> {
    const flags = flagsOf(command);
    if ((flags & ATTACHES) !== 0) {
      throw new InvalidRequestError(
        `${command} cannot be called: use the method \`subscribe\`, and \`close\` what it returns`,
      );
    }
    const ack = options.ack ?? this.options.ack;
    const given = { ...options, ...(ack === undefined || isRead(flags) ? {} : { ack }) };
    if (this.options.retryWrites && options.idempotencyKey === undefined && takesKey(flags)) {
      given.idempotencyKey = `${this.keyPrefix}-${++this.keys}`;
    }
    return this.run<R>(commandCall(command, payload, given), options, waitMs(command, payload));
  }

  private run<R>(call: Call, options: CallOptions, waitsMs: number): Promise<R> {
    const timeoutMs = (options.timeoutMs ?? this.options.timeoutMs ?? TIMEOUT_MS) + waitsMs;
    const isBounded = (options.timeoutMs ?? this.options.timeoutMs) !== 0 && Number.isFinite(timeoutMs);
    const isResting = performance.now() < this.replicaRestsUntil;
    let link = isRead(call.flags) && this.replica !== null && !isResting ? this.replica : this.master;
    let hasRenewed = false;
    return call.run<R>(
      isBounded ? timeoutMs : 0,
      () => link.submit(call),
      (error, attempts) => {
        if (this.options.retry === false || this.isClosed) return null;
        if (link === this.replica && isElsewhere(error)) {
          this.replicaRestsUntil = performance.now() + REPLICA_REST_MS;
          link = this.master;
          return 0;
        }
        if (error instanceof UnauthorizedError && this.credentials.isRenewable && !hasRenewed) {
          hasRenewed = true;
          this.credentials.forget();
          if (link instanceof SocketLink) link.reopen();
          return 0;
        }
        return this.pause(call, link, error, attempts);
      },
    );
  }

  /** Milliseconds to rest before a call is sent again; null when it must not be. */
  private pause(call: Call, link: Link, error: unknown, attempts: number): number | null {
    if (error instanceof ConnectionError) {
      return error.maybeDone && !call.isRepeatable ? null : backoffMs(attempts);
    }
    if (error instanceof ReadOnlyError) {
      link.moveTo((error.details["master"] as string | null) ?? null);
      return attempts === 1 ? 0 : backoffMs(attempts);
    }
    if (error instanceof UnavailableError) return backoffMs(attempts);
    if (error instanceof RateLimitExceededError) return Number(error.details["retry_after_secs"]) * 1000;
    return null;
  }

  private link(urls: readonly string[], isPatient: boolean): Link {
    const bigints = this.options.bigints ?? false;
    if (this.options.transport === "http") return new HttpLink(urls, this.credentials, bigints);
    return new SocketLink(urls, this.credentials, {
      bigints,
      isPatient,
      heartbeatMs: this.options.heartbeatMs ?? HEARTBEAT_MS,
      connectTimeoutMs: this.options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    });
  }

  /** A connection has one subscription of a kind and name; a second one gets a connection of its own. */
  private feeder(): Feeder {
    const links = new Map<Feed, SocketLink>();
    return {
      timeoutMs: this.options.timeoutMs ?? TIMEOUT_MS,
      trouble: (feed) => links.get(feed)?.trouble ?? null,
      attach: (feed) => {
        const main = this.socketLink();
        const link = main.feeds.has(feed.key) ? this.extraLink() : main;
        links.set(feed, link);
        link.attach(feed);
      },
      detach: async (feed) => {
        const link = links.get(feed);
        links.delete(feed);
        await link?.detach(feed);
        if (link !== undefined) this.dismiss(link);
      },
      farewell: async (feed) => links.get(feed)?.farewell(feed),
      resume: (feed) => links.get(feed)?.resume(feed),
    };
  }

  private ownFeeder(): Feeder {
    this.socketLink();
    const link = this.extraLink();
    let end: Promise<void> | undefined;
    return {
      timeoutMs: this.options.timeoutMs ?? TIMEOUT_MS,
      trouble: () => link.trouble,
      attach: (feed) => link.attach(feed),
      // Whoever asks again waits for the same end: closing the connection earlier would lose the server's answer.
      detach: (feed) => {
        end ??= link.detach(feed).then(() => this.dismiss(link));
        return end;
      },
      farewell: (feed) => link.farewell(feed),
      resume: (feed) => link.resume(feed),
    };
  }

  private socketLink(): SocketLink {
    if (this.master instanceof SocketLink) return this.master;
    throw new NeedsWebsocketError('subscriptions need the option transport: "websocket", which is the default');
  }

  private extraLink(): SocketLink {
    const urls = [this.master.url, ...(this.options.replicas ?? [])];
    const link = this.link(urls, true) as SocketLink;
    this.extra.add(link);
    return link;
  }

  private dismiss(link: SocketLink): void {
    if (this.extra.delete(link)) link.close();
  }
}

/** Whether another server may answer what a replica has not. */
function isElsewhere(error: unknown): boolean {
  return error instanceof ConnectionError || error instanceof UnavailableError;
}

function shuffled<T>(items: readonly T[]): T[] {
  const first = Math.floor(Math.random() * items.length);
  return [...items.slice(first), ...items.slice(0, first)];
}
