// The way to a server: calls of one moment are put together, sent, and sent again elsewhere when the server is another.

import type { Call } from "./call.js";
import { ConnectionError } from "./errors.js";
import { type Frame, framesOf } from "./frame.js";

/** A way to one of some servers. */
export abstract class Link {
  private queue: Call[] = [];
  private isScheduled = false;
  protected isClosed = false;
  /** Why there is no connection. */
  trouble: Error | null = null;
  private readonly urls: string[];
  private index = 0;

  constructor(urls: readonly string[]) {
    this.urls = [...new Set(urls.map(withoutSlash))];
  }

  /** The server that it leads to, or will. */
  get url(): string {
    return this.urls[this.index] as string;
  }

  /** Send a call with all others of this moment; the result of this attempt. */
  submit(call: Call): Promise<unknown> {
    return call.attempt(() => {
      if (this.isClosed) {
        call.fail(new ConnectionError(`${call.name}: the client is closed`, call.maybeDone));
        return;
      }
      call.trouble = this.trouble;
      this.queue.push(call);
      this.schedule();
    });
  }

  /** Lead to another server, the next one known when none is named. */
  moveTo(server: string | null): void {
    const before = this.url;
    if (server === null) {
      this.index = (this.index + 1) % this.urls.length;
    } else {
      const url = withoutSlash(server);
      this.index = this.urls.includes(url) ? this.urls.indexOf(url) : this.urls.push(url) - 1;
    }
    if (this.url !== before) this.moved();
  }

  /** Fail what has not been answered, and take nothing more. */
  close(): void {
    this.isClosed = true;
    this.failQueued(new ConnectionError("the client was closed", false));
  }

  /** Whether frames can be sent right now; if not, see to it that `flush` is called when they can. */
  protected abstract isReady(): boolean;
  protected abstract send(frame: Frame): void;
  protected abstract moved(): void;

  protected get isAnybodyWaiting(): boolean {
    this.queue = this.queue.filter((call) => !call.isOver);
    return this.queue.length > 0;
  }

  protected flush(): void {
    if (this.queue.length === 0 || !this.isReady()) return;
    const calls = this.queue.filter((call) => !call.isOver);
    this.queue = [];
    for (const frame of framesOf(calls)) this.send(frame);
  }

  protected failQueued(error: Error): void {
    const calls = this.queue;
    this.queue = [];
    for (const call of calls) call.fail(error);
  }

  /** Tell those who wait why they do: it is said when their time is over. */
  protected tellTrouble(trouble: Error | null): void {
    this.trouble = trouble;
    for (const call of this.queue) call.trouble = trouble;
  }

  private schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    queueMicrotask(() => {
      this.isScheduled = false;
      this.flush();
    });
  }
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, "").replace(/^ws/, "http");
}
