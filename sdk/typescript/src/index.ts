export { Batch, type BatchOptions, type BatchResult } from "./batch.js";
export { Synap, type SynapOptions } from "./client.js";
export type { Token } from "./credentials.js";
export * from "./errors.js";
export * from "./generated/namespaces.js";
export {
  PubSub,
  type PubsubSubscribeOptions,
  type TopicGap,
  type TopicMessage,
  TopicSubscription,
} from "./pubsub.js";
export { Message, QueueSubscription, Queues } from "./queue.js";
export { type RoomGap, type StreamSubscribeOptions, StreamSubscription, Streams } from "./stream.js";
export { type SubscribeOptions, Subscription } from "./subscription.js";
export type { Ack, Caller, CallOptions, Json, JsonInput, Reached } from "./types.js";
export { type Handler, Worker, type WorkerOptions } from "./worker.js";
