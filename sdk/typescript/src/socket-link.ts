// The way to a server over one WebSocket that is opened when it is needed, and again when it breaks.

import { backoffMs, delay } from "./backoff.js";
import { commandCall } from "./call.js";
import { Connection, type Push } from "./connection.js";
import type { Credentials } from "./credentials.js";
import {
  ConnectionError,
  InvalidOffsetError,
  RateLimitExceededError,
  ReadOnlyError,
  UnauthorizedError,
  UnavailableError,
} from "./errors.js";
import { Frame } from "./frame.js";
import { Link } from "./link.js";
import { openSocket, silence } from "./socket.js";

const LAGGING_ATTEMPTS_MAX = 8;

/** A subscription, as the connection sees it. */
export interface Feed {
  /** Of one key, a connection has one feed: pushes name no more than this. */
  readonly key: string;
  readonly isOver: boolean;
  /** It has begun once. */
  readonly hasBegun: boolean;
  /** What begins it, or goes on with it. */
  request(): { command: string; payload: object };
  /** What ends it. */
  farewell(): { command: string; payload: object };
  begun(result: unknown): void;
  push(push: Push): void;
  /** The connection is gone; `request` will be asked for again. */
  interrupted(): void;
  fail(error: unknown): void;
  close(): Promise<void>;
}

export interface SocketSettings {
  readonly bigints: boolean;
  readonly heartbeatMs: number;
  readonly connectTimeoutMs: number;
  /** Try again until nobody waits any more; else calls fail at the first failure to connect. */
  readonly isPatient: boolean;
}

/** A way to a server by WebSocket. */
export class SocketLink extends Link {
  readonly feeds = new Map<string, Feed>();
  /** Feeds that the server has begun to serve: what it pushes before was meant for another one of the same key. */
  private readonly begun = new Set<Feed>();
  private readonly credentials: Credentials;
  private readonly settings: SocketSettings;
  private connection: Connection | null = null;
  private isConnecting = false;
  /** Another token was got since the last connection. */
  private hasRenewed = false;

  constructor(urls: readonly string[], credentials: Credentials, settings: SocketSettings) {
    super(urls);
    this.credentials = credentials;
    this.settings = settings;
  }

  /** Begin a subscription, and begin it again on every new connection. */
  attach(feed: Feed): void {
    this.feeds.set(feed.key, feed);
    if (this.connection !== null) void this.begin(feed, this.connection);
    else void this.connect();
  }

  /** End a subscription. */
  async detach(feed: Feed): Promise<void> {
    if (this.feeds.get(feed.key) !== feed) return;
    this.feeds.delete(feed.key);
    if (this.connection !== null) await this.farewell(feed);
  }

  /** Have the server push nothing more, for the time being. */
  async farewell(feed: Feed): Promise<void> {
    this.begun.delete(feed);
    const { command, payload } = feed.farewell();
    const call = commandCall(command, payload, {});
    await this.connection?.request(call, new Frame([call])).catch(() => {}); // a connection that broke ends it as well
  }

  /** Begin a subscription again that has been ended for the time being. */
  resume(feed: Feed): void {
    if (this.connection !== null) void this.begin(feed, this.connection);
  }

  /** Log in again, or show the new token. */
  reopen(): void {
    this.moved();
  }

  override close(): void {
    super.close();
    const feeds = [...this.feeds.values()];
    this.feeds.clear();
    for (const feed of feeds) void feed.close();
    this.connection?.drop("the client was closed");
  }

  protected override isReady(): boolean {
    if (this.connection === null) void this.connect();
    return this.connection !== null;
  }

  protected override send(frame: Frame): void {
    this.connection?.send(frame);
  }

  protected override moved(): void {
    const old = this.connection;
    this.lost(old);
    old?.retire();
  }

  private get isWanted(): boolean {
    return !this.isClosed && (this.feeds.size > 0 || this.isAnybodyWaiting);
  }

  private async connect(): Promise<void> {
    if (this.isConnecting || this.connection !== null) return;
    this.isConnecting = true;
    try {
      for (let failures = 1; this.isWanted; failures++) {
        const url = this.url;
        try {
          const socket = await openSocket(url, this.credentials, this.settings.connectTimeoutMs);
          if (url === this.url && !this.isClosed) {
            this.adopt(socket);
            return;
          }
          silence(socket);
          socket.close();
        } catch (error) {
          if (!(await this.tryAgain(error as Error, failures))) return;
        }
      }
    } finally {
      this.isConnecting = false;
    }
  }

  /** Rest after a failure to connect; says whether another attempt makes sense. */
  private async tryAgain(error: Error, failures: number): Promise<boolean> {
    const isLater = error instanceof UnavailableError || error instanceof RateLimitExceededError;
    if (error instanceof UnauthorizedError && this.credentials.isRenewable && !this.hasRenewed) {
      this.hasRenewed = true;
      this.credentials.forget();
      return true;
    }
    if (!(error instanceof ConnectionError) && !isLater) {
      this.failQueued(error);
      for (const feed of this.feeds.values()) feed.fail(error);
      this.feeds.clear();
      return false;
    }
    this.tellTrouble(error);
    this.moveTo(null);
    if (!this.settings.isPatient) {
      this.failQueued(error);
      return false;
    }
    await delay(backoffMs(failures));
    return true;
  }

  private adopt(socket: WebSocket): void {
    const connection: Connection = new Connection(socket, this.settings.bigints, this.settings.heartbeatMs, {
      onPush: (push) => this.handOn(push),
      onLost: () => this.lost(connection),
      isInUse: () => this.feeds.size > 0,
    });
    this.connection = connection;
    this.hasRenewed = false;
    this.tellTrouble(null);
    for (const feed of this.feeds.values()) void this.begin(feed, connection);
    this.flush();
  }

  private lost(connection: Connection | null): void {
    if (this.connection !== connection) return;
    this.connection = null;
    this.begun.clear();
    for (const feed of this.feeds.values()) feed.interrupted();
    if (this.isWanted) void this.connect();
  }

  private async begin(feed: Feed, connection: Connection): Promise<void> {
    for (let failures = 1; this.connection === connection && !feed.isOver; failures++) {
      const { command, payload } = feed.request();
      const call = commandCall(command, payload, {});
      call.onResult = (result) => {
        if (this.connection !== connection) return;
        this.begun.add(feed);
        feed.begun(result);
      };
      try {
        await connection.request(call, new Frame([call]));
        return;
      } catch (error) {
        if (error instanceof ConnectionError) return; // it begins again with the next connection
        if (!this.canBeginAgain(feed, error, failures)) {
          this.feeds.delete(feed.key);
          feed.fail(error);
          return;
        }
        await delay(backoffMs(failures));
      }
    }
  }

  private handOn(push: Push): void {
    const feed = this.feeds.get(keyOf(push));
    if (feed !== undefined && this.begun.has(feed)) feed.push(push);
  }

  private canBeginAgain(feed: Feed, error: unknown, failures: number): boolean {
    if (error instanceof InvalidOffsetError) {
      return feed.hasBegun && failures < LAGGING_ATTEMPTS_MAX; // a replica may not have seen yet what its master had
    }
    if (error instanceof ReadOnlyError) {
      this.moveTo((error.details["master"] as string | null) ?? null);
      return true;
    }
    if (error instanceof UnauthorizedError && this.credentials.isRenewable && failures === 1) {
      this.credentials.forget();
      this.reopen();
      return true;
    }
    return error instanceof UnavailableError || error instanceof RateLimitExceededError;
  }
}

/** Which feed a push is for. */
function keyOf(push: Push): string {
  if ("room" in push) return `stream:${push["room"]}`;
  if ("queue" in push) return `queue:${push["queue"]}`;
  return "pubsub";
}
