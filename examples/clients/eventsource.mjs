// EventSource: follows a turn, and connects again by itself from the last event it got.
// In a browser it is built in, and sends the cookie by itself.
import { EventSource } from "eventsource";

const url = process.env.PARLEY_URL ?? "http://localhost:8000";
const message = process.env.MESSAGE ?? "What is a turn?";
const json = { "content-type": "application/json" };

const made = await fetch(`${url}/api/v1/conversations`, { method: "POST", headers: json, body: "{}" });
const cookie = made.headers.get("set-cookie").split(";")[0];
const { conversation_id } = await made.json();

// The turn begins, and goes on without this connection.
const asked = await fetch(`${url}/api/v1/conversations/${conversation_id}/messages`, {
  method: "POST",
  headers: { ...json, cookie },
  body: JSON.stringify({ message }),
});
const turn = asked.headers.get("x-turn-id");
await asked.body.cancel();

const source = new EventSource(`${url}/api/v1/turns/${turn}/events`, {
  fetch: (to, init) => fetch(to, { ...init, headers: { ...init.headers, cookie } }),
});
source.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.type === "text") process.stdout.write(event.content);
  if (event.type === "error") console.error(event.content);
  if (event.type === "done") {
    console.log();
    source.close();
  }
};
