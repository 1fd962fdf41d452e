import type { Json } from "./types.js";

/** Whatever can go wrong between a program and a server. `code` says what, `details` holds what a program needs. */
export class SynapError extends Error {
  readonly code: string = "ERROR";
  override readonly name: string = "SynapError";
  readonly details: Readonly<Record<string, Json>>;

  constructor(message: string, details: Readonly<Record<string, Json>> = {}, options?: ErrorOptions) {
    super(message, options);
    this.details = details;
  }
}
