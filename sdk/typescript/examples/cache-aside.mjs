// A cache in front of something slow: read the cache, else the source, and keep what it said for a while.
import { Synap } from "@synap/sdk";

const synap = new Synap({ url: process.env.SYNAP_URL });
const prefix = `product-${Date.now()}`;
let reads = 0;

async function readDatabase(id) {
  reads++;
  await new Promise((resolve) => setTimeout(resolve, 50));
  return { id, name: `Product ${id}`, price: 9.5 };
}

async function product(id) {
  const key = `${prefix}:${id}`;
  const cached = await synap.kv.get({ key });
  if (cached.found) return cached.value;
  const value = await readDatabase(id);
  await synap.kv.set({ key, value, ttl: 60 });
  return value;
}

/** After a change, the next reader gets the new value. */
async function changed(id) {
  await synap.kv.del({ key: `${prefix}:${id}` });
}

console.log(await product(1));
await product(1);
await product(1);
console.log(`three reads, ${reads} of the database`);
await changed(1);
await product(1);
console.log(`after a change, ${reads}`);
await synap.close();
