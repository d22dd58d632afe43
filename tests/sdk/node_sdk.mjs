// Runs one scenario with the unmodified OpenAI SDK for Node and prints what it saw as JSON.
// Arguments: scenario, base URL, API key.
import OpenAI from 'openai';

const [scenario, baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: 'user', content: 'Hello!' }];
const tools = [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } }];

async function gather(stream) {
  const seen = { text: '', usages: 0, empty: 0, finish: null };
  for await (const chunk of stream) {
    if (chunk.choices.length === 0) seen.empty += 1;
    seen.text += chunk.choices[0]?.delta?.content ?? chunk.choices[0]?.text ?? '';
    seen.finish = chunk.choices[0]?.finish_reason ?? seen.finish;
    if (chunk.usage) seen.usages += 1;
  }
  return seen;
}

async function failure(call) {
  try {
    await call();
  } catch (error) {
    const { status, code, type, param, requestID } = error;
    return { name: error.constructor.name, status, code, type, param, hasRequestID: Boolean(requestID) };
  }
  return null;
}

const scenarios = {
  chat: () => client.chat.completions.create({ model: 'm', messages }),
  stream: async () => gather(await client.chat.completions.create({ model: 'm', messages, stream: true })),
  usage: async () =>
    gather(
      await client.chat.completions.create({
        model: 'm',
        messages,
        stream: true,
        stream_options: { include_usage: true },
      }),
    ),
  helper: async () => client.chat.completions.stream({ model: 'm', messages, tools }).finalChatCompletion(),
  embeddings: () => client.embeddings.create({ model: 'm', input: ['a', 'b'] }),
  completion: async () => gather(await client.completions.create({ model: 'm', prompt: 'Write', stream: true })),
  models: async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids, one: await client.models.retrieve('org/model-with/slashes') };
  },
  error: () => failure(() => client.chat.completions.create({ model: 'm', messages })),
  cut: () => failure(async () => gather(await client.chat.completions.create({ model: 'm', messages, stream: true }))),
  wrongKey: () =>
    failure(() => client.withOptions({ apiKey: 'sk-wrong' }).chat.completions.create({ model: 'm', messages })),
  parameter: () => failure(() => client.chat.completions.create({ model: 'm', messages, temperature: 3 })),
  spent: async () => {
    let requests = 0;
    const counting = (url, init) => {
      requests += 1;
      return fetch(url, init);
    };
    const retrying = client.withOptions({ maxRetries: 2, fetch: counting });
    return { ...(await failure(() => retrying.chat.completions.create({ model: 'm', messages }))), requests };
  },
  abort: async () => {
    const stream = await client.chat.completions.create({ model: 'm', messages, stream: true });
    for await (const _ of stream) break;
    return { left: true };
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
