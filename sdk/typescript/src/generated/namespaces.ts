// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { Caller } from "../types.js";
import { AdminCommands } from "./admin.js";
import { AuthCommands } from "./auth.js";
import { BitmapCommands } from "./bitmap.js";
import { GeospatialCommands } from "./geospatial.js";
import { HashCommands } from "./hash.js";
import { HyperloglogCommands } from "./hyperloglog.js";
import { KeyCommands } from "./key.js";
import { KvCommands } from "./kv.js";
import { ListCommands } from "./list.js";
import { MemoryCommands } from "./memory.js";
import { PubsubCommands } from "./pubsub.js";
import { QueueCommands } from "./queue.js";
import { ReplicationCommands } from "./replication.js";
import { SetCommands } from "./set.js";
import { SortedsetCommands } from "./sortedset.js";
import { StreamCommands } from "./stream.js";

export * from "./admin.js";
export * from "./auth.js";
export * from "./bitmap.js";
export * from "./geospatial.js";
export * from "./hash.js";
export * from "./hyperloglog.js";
export * from "./key.js";
export * from "./kv.js";
export * from "./list.js";
export * from "./memory.js";
export * from "./pubsub.js";
export * from "./queue.js";
export * from "./replication.js";
export * from "./set.js";
export * from "./sortedset.js";
export * from "./stream.js";

/** All commands, grouped as their names are. */
export class Namespaces {
  readonly admin: AdminCommands;
  readonly auth: AuthCommands;
  readonly bitmap: BitmapCommands;
  readonly geospatial: GeospatialCommands;
  readonly hash: HashCommands;
  readonly hyperloglog: HyperloglogCommands;
  readonly key: KeyCommands;
  readonly kv: KvCommands;
  readonly list: ListCommands;
  readonly memory: MemoryCommands;
  readonly pubsub: PubsubCommands;
  readonly queue: QueueCommands;
  readonly replication: ReplicationCommands;
  readonly set: SetCommands;
  readonly sortedset: SortedsetCommands;
  readonly stream: StreamCommands;

  constructor(caller: Caller) {
    this.admin = new AdminCommands(caller);
    this.auth = new AuthCommands(caller);
    this.bitmap = new BitmapCommands(caller);
    this.geospatial = new GeospatialCommands(caller);
    this.hash = new HashCommands(caller);
    this.hyperloglog = new HyperloglogCommands(caller);
    this.key = new KeyCommands(caller);
    this.kv = new KvCommands(caller);
    this.list = new ListCommands(caller);
    this.memory = new MemoryCommands(caller);
    this.pubsub = new PubsubCommands(caller);
    this.queue = new QueueCommands(caller);
    this.replication = new ReplicationCommands(caller);
    this.set = new SetCommands(caller);
    this.sortedset = new SortedsetCommands(caller);
    this.stream = new StreamCommands(caller);
  }
}
