// Two people in a room. Who comes later reads what was said before, and nobody misses anything.
import { Synap } from "@synap/sdk";

const url = process.env.SYNAP_URL ?? "http://127.0.0.1:15500";
const room = `chat-${Date.now()}`;

async function join(name, messages) {
  const synap = new Synap({ url });
  const events = synap.stream.subscribe({ room, replay: true, create: true });
  await events.ready;
  const say = (text) => synap.stream.publish({ room, event_type: "said", data: { name, text } });
  const heard = [];
  const listening = (async () => {
    for await (const { data } of events) {
      heard.push(`${data.name}: ${data.text}`);
      if (heard.length === messages) break;
    }
    await synap.close();
    return heard;
  })();
  return { say, listening };
}

const ann = await join("Ann", 3);
await ann.say("Is anybody there?");
const ben = await join("Ben", 3);
await ben.say("I am.");
await ann.say("Good.");
console.log(`Ann heard:\n  ${(await ann.listening).join("\n  ")}`);
console.log(`Ben heard:\n  ${(await ben.listening).join("\n  ")}`);
