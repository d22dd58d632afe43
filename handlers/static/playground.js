// Talks to a model: sends the conversation so far, shows the answer as it comes, says what it took.
const form = document.getElementById("ask");
const talk = document.getElementById("talk");
const said = document.getElementById("said");
const turns = [];
let running = null;

function show(role, text) {
  const turn = document.createElement("div");
  turn.className = `turn ${role}`;
  const who = document.createElement("p");
  who.className = "who-said";
  who.textContent = role === "user" ? "You" : form.elements.model.value;
  const body = document.createElement("p");
  body.className = "text";
  body.textContent = text;
  turn.append(who, body);
  talk.append(turn);
  talk.hidden = false;
  return body;
}

function payload() {
  const { model, system, temperature, most } = form.elements;
  const messages = [...turns];
  if (system.value.trim()) messages.unshift({ role: "system", content: system.value });
  const wanted = { model: model.value.trim(), messages, stream: true, stream_options: { include_usage: true } };
  if (temperature.value.trim()) wanted.temperature = Number(temperature.value);
  if (most.value.trim()) wanted.max_completion_tokens = Number(most.value);
  return wanted;
}

async function* events(body) {
  let rest = "";
  for await (const piece of body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:") && line.slice(5).trim() !== "[DONE]") yield JSON.parse(line.slice(5));
    }
  }
}

async function ask(body) {
  running = new AbortController();
  const started = performance.now();
  const answer = await fetch(form.dataset.path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Rooya-Key": form.elements.key.value },
    body: JSON.stringify(payload()),
    signal: running.signal,
  });
  if (!answer.ok) {
    const { error } = await answer.json();
    throw new Error(error.message);
  }
  let text = "", usage = null, first = 0;
  try {
    for await (const chunk of events(answer.body)) {
      if (chunk.error) throw new Error(chunk.error.message);
      usage = chunk.usage ?? usage;
      const piece = chunk.choices?.[0]?.delta?.content;
      if (piece) {
        first ||= performance.now();
        text += piece;
        body.textContent = text;
        talk.scrollTop = talk.scrollHeight;
      }
    }
  } finally {
    if (text) turns.push({ role: "assistant", content: text });
  }
  finish(answer.headers.get("x-request-id"), usage, (first || performance.now()) - started);
}

function finish(id, usage, ms) {
  const tokens = usage ? `${usage.prompt_tokens} tokens in, ${usage.completion_tokens} out, ` : "";
  const link = document.createElement("a");
  link.href = `/dashboard/requests?request_id=${encodeURIComponent(id)}`;
  link.textContent = "what it cost";
  said.replaceChildren(`${tokens}first word after ${Math.round(ms)} ms, `, link);
}

function busy(is) {
  form.elements.send.disabled = is;
  form.elements.stop.hidden = !is;
  form.elements.clear.hidden = is || turns.length === 0;
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { message } = form.elements;
  if (running || !message.value.trim()) return;
  const text = message.value;
  turns.push({ role: "user", content: text });
  show("user", text);
  const body = show("assistant", "…");
  message.value = "";
  said.textContent = "";
  busy(true);
  try {
    await ask(body);
  } catch (error) {
    if (turns.at(-1).role === "user") {
      turns.pop();
      message.value = text;
    }
    if (body.textContent === "…") body.parentElement.remove();
    said.textContent = error.name === "AbortError" ? "Stopped." : error.message;
  } finally {
    running = null;
    busy(false);
    message.focus();
  }
});

form?.elements.stop.addEventListener("click", () => running?.abort());
form?.elements.clear.addEventListener("click", () => {
  turns.length = 0;
  talk.replaceChildren();
  talk.hidden = true;
  said.textContent = "";
  busy(false);
  form.elements.message.focus();
});
form?.elements.message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
