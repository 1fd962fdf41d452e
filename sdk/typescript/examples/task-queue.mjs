// Tasks with retries: what fails comes again after a pause, and is a dead letter after its last attempt.
import { Synap } from "@synap/sdk";

const synap = new Synap({ url: process.env.SYNAP_URL });
const queue = `mails-${Date.now()}`;
await synap.queue.create({ queue, config: { max_retries: 2, retry: { strategy: "fixed", initial_secs: 0.05 } } });

async function send({ message: { to }, retry_count }) {
  if (to === "ben" && retry_count === 0) throw new Error("the mail server is busy");
  if (to === "nobody") throw new Error("no such address");
  console.log(`sent to ${to} at attempt ${retry_count + 1}`);
}

const worker = synap.queue.worker(queue, send, {
  concurrency: 4,
  onError: (error, { message, retry_count }) =>
    console.log(`${message.to}, attempt ${retry_count + 1}: ${error.message}`),
});

for (const to of ["ann", "ben", "nobody"]) {
  // A publisher that asks again after a broken connection does not send two mails.
  await synap.queue.publish({ queue, message: { to } }, { idempotencyKey: `${queue}-${to}` });
}

for (;;) {
  const { acked_total, dlq_depth } = await synap.queue.stats({ queue });
  if (acked_total + dlq_depth === 3) break;
  await new Promise((resolve) => setTimeout(resolve, 20));
}
await worker.stop();

const { messages } = await synap.queue.dlq({ queue });
console.log("given up:", messages.map(({ message }) => message.to).join(", "));
await synap.close();
