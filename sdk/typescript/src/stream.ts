// `synap.stream`: the generated commands and live subscriptions.

import type { Push } from "./connection.js";
import {
  StreamCommands,
  type StreamEvent,
  type StreamSubscribePayload,
  type StreamSubscribeResult,
} from "./generated/stream.js";
import { type Feeder, type SubscribeOptions, Subscription, warnOfGap } from "./subscription.js";
import type { Caller, Json } from "./types.js";

// Past so many events that nobody has taken, the server is asked to wait.
const BUFFER_EVENTS_MAX = 1_000;

/** Events that were asked for and that retention has removed, both ends included. */
export interface RoomGap {
  readonly room: string;
  readonly partition: number;
  readonly missed: number;
  readonly from: number;
  readonly to: number;
}

export interface StreamSubscribeOptions extends SubscribeOptions {
  /** Called where events are missing; without it, a warning is printed. */
  readonly onGap?: ((gap: RoomGap) => void) | undefined;
}

/** The commands `stream.*`. */
export class Streams extends StreamCommands {
  private readonly feeder: Feeder;

  constructor(caller: Caller, feeder: Feeder) {
    super(caller);
    this.feeder = feeder;
  }

  /**
   * Iterate over the events of a room, past ones first where asked for, each once and in order. After a broken
   * connection it goes on at the next offset. It ends when the room is deleted.
   */
  subscribe<T = Json>(payload: StreamSubscribePayload, options: StreamSubscribeOptions = {}): StreamSubscription<T> {
    return new StreamSubscription<T>(this.feeder, payload, options).start();
  }
}

/** A live subscription to a room. */
export class StreamSubscription<T> extends Subscription<StreamEvent<T>> {
  readonly key: string;
  private readonly payload: StreamSubscribePayload;
  private readonly onGap: (gap: RoomGap) => void;
  private next_offsets: Record<string, number> = {};
  private isPaused = false;

  constructor(feeder: Feeder, payload: StreamSubscribePayload, options: StreamSubscribeOptions) {
    super(feeder, options);
    this.key = `stream:${payload.room}`;
    this.payload = payload;
    this.onGap = options.onGap ?? warnOfGap;
  }

  /** The next offset of every partition that something has come from: where to go on another time. */
  get nextOffsets(): Readonly<Record<string, number>> {
    return this.next_offsets;
  }

  override request(): { command: string; payload: StreamSubscribePayload } {
    if (!this.hasBegun) return { command: "stream.subscribe", payload: this.payload };
    const { room, partition, event_types, create } = this.payload;
    // A room that was not there when it began is read from its beginning.
    const isNew = Object.keys(this.next_offsets).length === 0;
    const from = isNew ? { from_offset: 0 } : { from_offsets: this.next_offsets };
    return { command: "stream.subscribe", payload: { room, partition, event_types, create, ...from } };
  }

  override farewell(): { command: string; payload: object } {
    return { command: "stream.unsubscribe", payload: { room: this.payload.room } };
  }

  override begun(result: unknown): void {
    const { room, gap, next_offsets } = result as StreamSubscribeResult;
    this.isPaused = false;
    for (const [partition, offset] of Object.entries(next_offsets)) this.advance(partition, offset);
    super.begun(result);
    if (gap !== null) {
      const partition = Number(Object.keys(next_offsets)[0] ?? 0);
      this.tell(() => this.onGap({ room, partition, missed: gap.to - gap.from + 1, from: gap.from, to: gap.to }));
    }
  }

  override push(push: Push): void {
    const { type: _, ...event } = push;
    if (push.type === "event") this.take(event as unknown as StreamEvent<T>);
    else if (push.type === "gap") this.skip(event as unknown as RoomGap);
    else if (push.type === "end") this.ended();
  }

  protected override taken(): void {
    if (this.isPaused && this.buffer.length === 0 && !this.isOver) this.feeder.resume(this);
  }

  private take(event: StreamEvent<T>): void {
    if (event.offset < (this.next_offsets[event.partition] ?? 0)) return;
    this.advance(String(event.partition), event.offset + 1);
    this.deliver(event);
    if (this.buffer.length >= BUFFER_EVENTS_MAX) {
      this.isPaused = true;
      void this.feeder.farewell(this);
    }
  }

  private skip(gap: RoomGap): void {
    this.advance(String(gap.partition), gap.to + 1);
    this.tell(() => this.onGap(gap));
  }

  private advance(partition: string, offset: number): void {
    this.next_offsets[partition] = Math.max(offset, this.next_offsets[partition] ?? 0);
  }
}
