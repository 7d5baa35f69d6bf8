// OpenAI's own client for Node, pointed at Parley.
import OpenAI from "openai";

const url = process.env.PARLEY_URL ?? "http://localhost:8000";
const message = process.env.MESSAGE ?? "What is a turn?";
// Guests need no key, but the client insists on one.
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.PARLEY_KEY ?? "guest" });

const [model] = (await client.models.list()).data;
const messages = [{ role: "user", content: message }];
const stream = await client.chat.completions.create({ model: model.id, messages, stream: true });
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
console.log();

const whole = await client.chat.completions.create({ model: model.id, messages });
console.log(whole.choices[0].finish_reason, whole.usage.total_tokens);
