// Who asks: an API key, a token, or a name and a password that a token is got for.

import { ConnectionError, errorFrom } from "./errors.js";
import type { Reply } from "./frame.js";
import { encode } from "./json.js";

export const COMMAND_PATH = "/api/v1/command";

/** A token, or what returns one whenever a connection is made. */
export type Token = string | (() => string | Promise<string>);

export interface Secrets {
  readonly apiKey?: string | undefined;
  readonly token?: Token | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

/** The credential of a client. */
export class Credentials {
  private readonly secrets: Secrets;
  private login: Promise<string> | null = null;
  private isLoggingIn = false;

  constructor(secrets: Secrets) {
    this.secrets = secrets;
  }

  /** Another token may be got when one was refused. */
  get isRenewable(): boolean {
    return this.secrets.username !== undefined || typeof this.secrets.token === "function";
  }

  /** The token that was got is not good any more; one that is just being got may be. */
  forget(): void {
    if (!this.isLoggingIn) this.login = null;
  }

  /** What is said to the server at `url` in a header; undefined when nobody has to be named. */
  async headers(url: string): Promise<Record<string, string>> {
    if (this.secrets.apiKey !== undefined) return { "X-API-Key": this.secrets.apiKey };
    const token = await this.bearer(url);
    return token === undefined ? {} : { Authorization: `Bearer ${token}` };
  }

  /** What stands in the address of a WebSocket, where a browser can set no headers. */
  async inAddress(url: string): Promise<string | undefined> {
    return this.secrets.apiKey ?? (await this.bearer(url));
  }

  private async bearer(url: string): Promise<string | undefined> {
    const { token, username, password = "" } = this.secrets;
    if (typeof token === "function") return token();
    if (token !== undefined || username === undefined) return token;
    this.login ??= this.logIn(url, username, password);
    return this.login;
  }

  private async logIn(url: string, username: string, password: string): Promise<string> {
    this.isLoggingIn = true;
    try {
      const reply = await post(url, `{"command":"auth.login","payload":${encode({ username, password })}}`, {});
      if (reply.error !== undefined) throw errorFrom(reply.error);
      return (reply.payload as { token: string }).token;
    } catch (error) {
      this.login = null;
      throw error;
    } finally {
      this.isLoggingIn = false;
    }
  }
}

/** The answer to a command sent by HTTP. Throws ConnectionError. */
export async function post(url: string, body: string, headers: Record<string, string>): Promise<Reply> {
  let response: Response;
  try {
    response = await fetch(url + COMMAND_PATH, {
      method: "POST",
      body,
      headers: { "Content-Type": "application/json", ...headers },
    });
  } catch (error) {
    throw new ConnectionError(`cannot reach ${url}: ${reasonOf(error)}`, false, error);
  }
  return replyOf(url, response, (text) => JSON.parse(text));
}

/** The reply in an HTTP answer. Throws ConnectionError when something else than a Synap server has answered. */
export async function replyOf(url: string, response: Response, decode: (text: string) => unknown): Promise<Reply> {
  const text = await response.text();
  try {
    return decode(text) as Reply;
  } catch (error) {
    throw new ConnectionError(`${url} answered ${response.status} and no JSON: ${text.slice(0, 200)}`, true, error);
  }
}

/** What an error of the platform says, as far as it says anything. */
export function reasonOf(error: unknown): string {
  const { message, code, cause } = error as { message?: string; code?: string; cause?: unknown };
  if (cause instanceof Error) return reasonOf(cause);
  return message || code || String(error);
}
