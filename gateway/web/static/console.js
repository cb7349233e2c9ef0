// The first page of the console: the model list, and one streamed question. It uses the public API only.
const at = (id) => document.getElementById(id);

at("base").textContent = `${location.origin}/v1`;

function cell(text, kind) {
  const td = document.createElement("td");
  td.textContent = text ?? "–";
  if (kind) td.className = kind;
  return td;
}

async function showModels() {
  const reply = await fetch("/v1/models");
  const body = await reply.json();
  if (!reply.ok) {
    at("count").textContent = body.error.message;
    return;
  }
  let offers = 0;
  for (const model of body.data) {
    at("models").append(new Option(model.id));
    model.providers.forEach((offer, i) => {
      offers += 1;
      const row = document.createElement("tr");
      row.append(
        cell(i ? "" : model.id),
        cell(offer.provider),
        cell(offer.status),
        cell(offer.context_length?.toLocaleString("en"), "number"),
        cell(offer.pricing?.input, "number"),
        cell(offer.pricing?.output, "number"),
      );
      at("rows").append(row);
    });
  }
  at("count").textContent = `${body.data.length} models, ${offers} offers`;
}

// Server-sent events of a chat completion: the text of each chunk, in order. Throws on an error event.
async function* texts(stream) {
  const lines = stream.pipeThrough(new TextDecoderStream());
  let held = "";
  for await (const part of lines) {
    held += part;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
      const chunk = JSON.parse(event.slice(6));
      if (chunk.error) throw new Error(chunk.error.message);
      const delta = chunk.choices[0]?.delta;
      if (delta?.content) yield delta.content;
    }
  }
}

async function ask(submitted) {
  submitted.preventDefault();
  const button = at("ask").querySelector("button");
  const told = at("told");
  const answer = at("answer");
  button.disabled = true;
  answer.hidden = true;
  answer.textContent = "";
  told.textContent = "Asking…";
  const begun = performance.now();
  try {
    const reply = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { authorization: `Bearer ${at("key").value}`, "content-type": "application/json" },
      body: JSON.stringify({
        model: at("model").value,
        stream: true,
        messages: [{ role: "user", content: at("message").value }],
      }),
    });
    if (!reply.ok) throw new Error((await reply.json()).error.message);
    answer.hidden = false;
    for await (const text of texts(reply.body)) answer.textContent += text;
    const seconds = ((performance.now() - begun) / 1000).toFixed(2);
    told.textContent = `${reply.headers.get("x-gateway-attempts")} · ${seconds} s · ${reply.headers.get("inference-id")}`;
  } catch (error) {
    told.textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

at("ask").addEventListener("submit", ask);
showModels();
