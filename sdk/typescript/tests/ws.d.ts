// The servers of the package `ws`, as far as tests play one.

import type { EventEmitter } from "node:events";

declare module "ws" {
  interface Peer {
    on(event: "message", listener: (data: unknown) => void): void;
    send(text: string): void;
    terminate(): void;
  }
  const WebSocketServer: new (options: {
    port: number;
  }) => EventEmitter & {
    readonly clients: Iterable<Peer>;
    address(): unknown;
    on(event: "connection", listener: (socket: Peer) => void): void;
    close(): void;
  };
  export { type Peer, WebSocketServer };
}
