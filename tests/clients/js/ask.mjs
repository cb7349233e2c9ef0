// Asks the gateway through one JavaScript client, one request after the other, and prints as a JSON list what the client
// made of each answer: {text, calls, finishReason, tokens, pieces}, or {status, error} where it threw.
//
//     node ask.mjs openai|huggingface < {"baseUrl", "key", "asks": [{"stream", "model", "fields"}]}

import { readFileSync } from "node:fs";
import { InferenceClient } from "@huggingface/inference";
import OpenAI from "openai";

const { baseUrl, key, asks } = JSON.parse(readFileSync(0, "utf8"));

const clients = {
  openai() {
    const { completions } = new OpenAI({ baseURL: baseUrl, apiKey: key }).chat;
    return { ask: (body) => completions.create(body), listen: (body) => completions.create(body) };
  },
  huggingface() {
    const inference = new InferenceClient(key, { endpointUrl: baseUrl });
    return {
      ask: (body) => inference.chatCompletion(body),
      listen: (body) => inference.chatCompletionStream(body),
    };
  },
};

function whole(completion) {
  const [{ message, finish_reason: finishReason }] = completion.choices;
  const calls = (message.tool_calls ?? []).map((call) => [call.function.name, call.function.arguments]);
  return { text: message.content ?? "", calls, finishReason, tokens: tokensOf(completion.usage), pieces: 1 };
}

async function strung(stream) {
  const texts = [];
  let finishReason = null;
  let tokens = null;
  for await (const chunk of stream) {
    for (const choice of chunk.choices) {
      if (choice.delta.content) texts.push(choice.delta.content);
      // Compared with null, as applications do: a chunk that leaves the word out would look like an end.
      if (choice.finish_reason !== null) finishReason = choice.finish_reason;
    }
    if (chunk.usage) tokens = tokensOf(chunk.usage);
  }
  return { text: texts.join(""), calls: [], finishReason, tokens, pieces: texts.length };
}

function tokensOf(usage) {
  return [usage.prompt_tokens, usage.completion_tokens];
}

async function told(client, { stream, model, fields }) {
  try {
    if (!stream) return whole(await client.ask({ model, ...fields }));
    const streamed = { stream: true, stream_options: { include_usage: true } };
    return await strung(await client.listen({ model, ...streamed, ...fields }));
  } catch (thrown) {
    const { status = thrown.httpResponse?.status, error = thrown.httpResponse?.body?.error } = thrown;
    if (status === undefined) throw thrown;
    return { status, error };
  }
}

const client = clients[process.argv[2]]();
const answers = [];
for (const ask of asks) answers.push(await told(client, ask));
process.stdout.write(JSON.stringify(answers));
