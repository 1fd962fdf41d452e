import { COMMAND_PATH, type Credentials, reasonOf, replyOf } from "./credentials.js";
import { ConnectionError, type SynapError } from "./errors.js";
import type { Frame } from "./frame.js";
import { decode } from "./json.js";
import { Link } from "./link.js";

// The system says so before anything was sent.
const NOT_SENT = /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH/;

/** A way to a server by HTTP: every frame is a request. */
export class HttpLink extends Link {
  private readonly credentials: Credentials;
  private readonly bigints: boolean;
  private readonly open = new Map<AbortController, Frame>();
  private requests = 0;

  constructor(urls: readonly string[], credentials: Credentials, bigints: boolean) {
    super(urls);
    this.credentials = credentials;
    this.bigints = bigints;
  }

  override close(): void {
    super.close();
    for (const [controller, frame] of this.open) {
      frame.lose("the client was closed", undefined);
      controller.abort();
    }
  }

  protected override isReady(): boolean {
    return true;
  }

  protected override moved(): void {}

  protected override send(frame: Frame): void {
    const controller = new AbortController();
    this.open.set(controller, frame);
    for (const call of frame.calls) {
      call.onEnd = () => {
        if (frame.calls.every(({ isOver }) => isOver)) controller.abort();
      };
    }
    this.exchange(frame, controller.signal)
      .catch((error: SynapError) => frame.fail(error))
      .finally(() => this.open.delete(controller));
  }

  private async exchange(frame: Frame, signal: AbortSignal): Promise<void> {
    const url = this.url;
    const headers = { "Content-Type": "application/json", ...(await this.credentials.headers(url)) };
    try {
      const body = frame.text(String(++this.requests));
      const response = await fetch(url + COMMAND_PATH, { method: "POST", body, headers, signal });
      frame.settle(await replyOf(url, response, (text) => decode(text, this.bigints)));
    } catch (error) {
      const reason = reasonOf(error);
      const isUnsent =
        NOT_SENT.test(reason) || NOT_SENT.test((error as { cause?: { code?: string } }).cause?.code ?? "");
      for (const call of frame.calls) call.maybeDone &&= !isUnsent;
      const why = `cannot reach ${url}: ${reason}`;
      for (const call of frame.calls) call.trouble = new ConnectionError(why, false, error);
      frame.lose(why, error);
      if (isUnsent) this.moveTo(null);
    }
  }
}
