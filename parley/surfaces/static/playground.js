// Talks to Parley by WebSocket or SSE, and shows every event with its time.
"use strict";

const api = document.body.dataset.api;
const at = (id) => document.getElementById(id);
let socket = null;
let conversation = null;
let turn = null;
let sentAt = 0;
let firstAt = null;
let count = 0;

function show(state) { at("state").textContent = state; }

function busy(isBusy) {
  at("send").disabled = isBusy;
  at("stop").disabled = !isBusy;
}

function timing(name, value) {
  const line = document.createElement("div");
  line.append(Object.assign(document.createElement("dt"), { textContent: name }));
  line.append(Object.assign(document.createElement("dd"), { textContent: value }));
  at("timings").append(line);
}

function begin() {
  at("answer").textContent = "";
  at("events").replaceChildren();
  at("timings").replaceChildren();
  [turn, firstAt, count, sentAt] = [null, null, 0, performance.now()];
  busy(true);
}

function end(said) {
  busy(false);
  if (said) show(said);
}

function take(event) {
  const ms = performance.now() - sentAt;
  count += 1;
  turn = event.turn_id ?? turn;
  const row = at("events").insertRow();
  const content = typeof event.content === "string" ? event.content : JSON.stringify(event.content ?? "");
  for (const text of [ms.toFixed(0), event.type, content]) row.insertCell().textContent = text;
  const answer = at("answer");
  if (event.type === "text") {
    firstAt ??= ms;
    answer.textContent = [...answer.textContent].slice(0, event.offset).join("") + event.content;
  } else if (event.type === "snapshot") {
    answer.textContent = event.content.text;
  } else if (event.type === "attempt" && event.content.keep === false) {
    answer.textContent = "";
  } else if (event.type === "turn_start") {
    conversation = event.content.conversation_id;
  } else if (event.type === "error") {
    show(event.content);
    if (!event.turn_id) end();
  } else if (event.type === "done") {
    timing("first text", firstAt === null ? "none" : `${firstAt.toFixed(0)} ms`);
    timing("whole", `${ms.toFixed(0)} ms`);
    timing("events", String(count));
    timing("server", `${event.content.duration_ms} ms`);
    end(`Done: ${event.content.finish_reason}`);
  }
}

function connected() {
  if (socket && socket.readyState === WebSocket.OPEN) return Promise.resolve(socket);
  return new Promise((resolve, reject) => {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    socket.onopen = () => { show("Connected"); resolve(socket); };
    socket.onmessage = (message) => take(JSON.parse(message.data));
    socket.onerror = () => reject(new Error("The socket did not open."));
    socket.onclose = (closed) => end(`Closed (${closed.code})`);
  });
}

async function asked(path, body) {
  const response = await fetch(api + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response;
}

async function bySocket(message, model) {
  const frame = { type: "message", message, ...(model && { model }) };
  if (conversation) frame.conversation_id = conversation;
  (await connected()).send(JSON.stringify(frame));
}

async function byEvents(message, model) {
  conversation ??= (await (await asked("/conversations", {})).json()).conversation_id;
  const response = await asked(`/conversations/${conversation}/messages`, { message, ...(model && { model }) });
  show("Connected");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    const blocks = (held + piece.value).split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length) take(JSON.parse(data.join("\n")));
    }
  }
  if (!at("send").disabled) return;
  end("The stream ended before the answer did.");
}

at("form").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  begin();
  const talk = at("door").value === "ws" ? bySocket : byEvents;
  try {
    await talk(at("message").value, at("model").value);
  } catch (error) {
    end(error.message);
  }
});

at("stop").addEventListener("click", async () => {
  if (!turn) return;
  if (at("door").value === "ws") socket.send(JSON.stringify({ type: "stop", turn_id: turn }));
  else await asked(`/turns/${turn}/stop`, {}).catch((error) => show(error.message));
});

function anew() {
  conversation = null;
  socket?.close();
  socket = null;
  show("New conversation");
}

at("anew").addEventListener("click", anew);
at("door").addEventListener("change", anew);

fetch(`${api}/models`).then((response) => response.json()).then((models) => {
  for (const model of models.data) at("model").add(new Option(model.label || model.id, model.id));
}).catch(() => show("The models could not be listed."));
