// Stateless: the server keeps nothing; the conversation comes back sealed, and is brought along.
const url = process.env.PARLEY_URL ?? "http://localhost:8000";
const message = process.env.MESSAGE ?? "What is a turn?";

async function* events(response) {
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

let context;
for (const text of [message, "And what did I ask before?"]) {
  const response = await fetch(`${url}/api/v1/chat`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ message: text, context }),
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  for await (const event of events(response)) {
    if (event.type === "text") process.stdout.write(event.content);
    if (event.type === "context_update") context = event.content;
  }
  console.log();
}
console.log(`${context.messages.length} messages`);
