// The part of the package `ws` that is used; its own types would bring those of Node.
declare module "ws" {
  interface Options {
    headers: Record<string, string>;
    maxPayload: number;
    perMessageDeflate: boolean;
  }
  const WebSocket: new (address: string, options: Options) => globalThis.WebSocket;
  export { WebSocket };
}
