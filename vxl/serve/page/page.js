// The page at /: everything goes through the endpoint that other clients use, with the field `vxl` beside it.
"use strict";

const $ = (id) => document.getElementById(id);
const state = { about: null, video: null, watching: null, key: "" };

function headers(more = {}) {
  return state.key ? { ...more, Authorization: `Bearer ${state.key}` } : more;
}

async function call(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers) });
  if (response.ok) return response;
  let message = `${response.status} ${response.statusText}`;
  try { message = (await response.json()).error.message; } catch { /* not this server's words */ }
  if (response.status === 401) $("key-form").hidden = false;
  throw new Error(message);
}

// The events of a chat completion, as they come.
async function* chat(body, signal) {
  const response = await call("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model: state.about.model, stream: true, ...body }),
    signal,
  });
  let text = "";
  for await (const piece of decoded(response.body.getReader())) {
    text += piece;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
      const data = JSON.parse(event.slice(6));
      if (data.error) throw new Error(data.error.message);
      yield data;
    }
  }
}

async function* decoded(reader) {
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield decoder.decode(value, { stream: true });
  }
}

function shown(video) {
  const type = video.kind === "image" ? "image_url" : "video_url";
  return { type, [type]: { url: video.url } };
}

function wishes(more) {
  return $("keep-row").hidden || Number($("keep").value) === state.about.keep
    ? more : { ...more, keep: Number($("keep").value) };
}

const mib = (bytes) => (bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 3 : 1);
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

function fail(error) {
  if (error.name === "AbortError") return;
  $("error").textContent = error.message;
  $("error").hidden = false;
  $("status").textContent = "";
}

function tell(progress) {
  $("progress").hidden = false;
  $("decoded").max = Math.max(1, progress.of_frames);
  $("decoded").value = progress.frames;
  $("decoded-text").textContent = `${progress.frames} of ${progress.of_frames} frames`;
  $("prefilled").max = progress.of_groups;
  $("prefilled").value = progress.groups;
  $("prefilled-text").textContent = `${progress.groups} of ${progress.of_groups} groups`;
  $("cache").textContent = mib(progress.cache_bytes);
}

async function choose(video) {
  state.video = video;
  $("answers").replaceChildren();
  $("strip").hidden = true;
  $("frames").removeAttribute("src");
  for (const button of $("buttons").children) button.setAttribute("aria-pressed", button.dataset.url === video.url);
  $("what").textContent = video.seconds
    ? `${video.name} · ${clock(video.seconds)} · ${video.width} × ${video.height}` : video.name;
  $("what").hidden = false;
  await watch();
}

async function watch() {
  state.watching?.abort();
  const own = state.watching = new AbortController();
  $("error").hidden = true;
  $("progress").hidden = true;
  $("status").textContent = "Watching …";
  document.body.dataset.watched = "";
  try {
    let facts = null;
    const body = { messages: [{ role: "user", content: [shown(state.video)] }], vxl: wishes({ watch: true, progress: true }) };
    for await (const chunk of chat(body, own.signal)) {
      if (chunk.vxl?.progress) tell(chunk.vxl.progress);
      else if (chunk.vxl) facts = chunk.vxl;
    }
    $("cache").textContent = mib(facts.cache_bytes);
    $("status").textContent = `Watched ${facts.frames} frames, ${mib(facts.cache_bytes)} MiB of cache. Ask as often as you like.`;
    $("ask").hidden = false;
    document.body.dataset.watched = state.video.url;
    picture().catch(fail);
    $("question").focus();
  } catch (error) { fail(error); }
}

async function picture() {
  const url = state.video.url;
  const blob = await (await call(`page/strip?url=${encodeURIComponent(url)}`)).blob();
  if (state.video.url !== url) return;
  if ($("frames").src) URL.revokeObjectURL($("frames").src);
  $("frames").src = URL.createObjectURL(blob);
  $("frames").alt = `Frames of ${state.video.name}, in order`;
  await $("frames").decode();
  const count = Math.round($("frames").naturalWidth / $("frames").naturalHeight);
  const shape = state.video.width ? state.video.width / state.video.height : 16 / 9;
  $("frames").style.aspectRatio = String(count * shape);
  document.body.dataset.pictured = url;
}

function element(kind, name, text = "") {
  const made = document.createElement(kind);
  made.className = name;
  made.textContent = text;
  return made;
}

async function ask(question) {
  const video = state.video;
  const row = element("li", "");
  const answer = element("p", "said");
  row.append(element("p", "asked", question), answer);
  row.setAttribute("aria-busy", "true");
  $("answers").prepend(row);
  try {
    let facts = null, usage = null;
    const body = {
      messages: [{ role: "user", content: [shown(video), { type: "text", text: question }] }],
      max_tokens: 256, stream_options: { include_usage: true }, vxl: wishes({ progress: true, strip: true }),
    };
    for await (const chunk of chat(body)) {
      if (chunk.vxl?.progress) tell(chunk.vxl.progress);
      else if (chunk.vxl) facts = chunk.vxl;
      usage = chunk.usage ?? usage;
      answer.textContent += chunk.choices[0]?.delta.content ?? "";
    }
    if (!answer.textContent) answer.textContent = "(no words)";
    row.append(element("p", "cost", `first word after ${facts.first_token_ms} ms · ${usage.completion_tokens} tokens · cache ${mib(facts.cache_bytes)} MiB`));
    if (state.video === video) bars(facts, question);
  } catch (error) {
    answer.textContent = error.message;
    answer.classList.add("wrong");
  }
  row.removeAttribute("aria-busy");
}

function bars(facts, question) {
  $("strip").hidden = facts.kept.length === 0;
  const most = Math.max(...facts.attended, 1e-9);
  draw("kept", facts.kept, facts.kept.map((share) => share));
  draw("attended", facts.attended, facts.attended.map((share) => share / most));
  const mean = facts.kept.reduce((sum, share) => sum + share, 0) / facts.kept.length;
  const peak = facts.attended.indexOf(Math.max(...facts.attended));
  const at = clock((peak + 0.5) / facts.attended.length * (state.video.seconds || 0));
  $("kept").setAttribute("aria-label", `Kept: ${(100 * mean).toFixed(0)} % of the visual tokens on average`);
  $("attended").setAttribute("aria-label", `“${question}” attended most to the video around ${at}`);
  $("ends").textContent = `· kept ${(100 * mean).toFixed(0)} % on average, attended most around ${at}`;
}

function draw(id, shares, heights) {
  $(id).replaceChildren(...heights.map((height, number) => {
    const bar = element("div", "");
    bar.style.height = `${Math.min(100, 100 * height)}%`;
    bar.title = `${(100 * shares[number]).toFixed(1)} %`;
    return bar;
  }));
}

async function take(file) {
  $("error").hidden = true;
  if (file.size > state.about.max_mib * 2 ** 20) {
    fail(new Error(`${file.name} is larger than ${state.about.max_mib} MiB.`));
    return;
  }
  $("status").textContent = "Sending …";
  try {
    const response = await call(`page/videos?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    await choose(await response.json());
  } catch (error) { fail(error); }
}

async function begin() {
  try {
    state.about = await (await call("page/about")).json();
  } catch (error) { fail(error); return; }
  const about = state.about;
  $("key-form").hidden = true;
  $("error").hidden = true;
  document.title = `${about.model} · vxl`;
  $("facts").textContent = `${about.model} · kv=${about.policy}` + (about.random ? " · random weights: its answers mean nothing" : "");
  $("examples").hidden = about.examples.length === 0;
  $("buttons").replaceChildren(...about.examples.map((url) => {
    const button = element("button", "", url.slice(url.indexOf("/") + 1));
    button.type = "button";
    button.dataset.url = url;
    button.addEventListener("click", async () => {
      try { await choose(await (await call(`page/facts?url=${encodeURIComponent(url)}`)).json()); } catch (error) { fail(error); }
    });
    return button;
  }));
  $("keep-row").hidden = about.keep === null;
  if (about.keep !== null) { $("keep").value = about.keep; say(); }
  document.body.dataset.ready = "yes";
}

function say() { $("keep-value").textContent = `${Math.round(100 * Number($("keep").value))} %`; }

$("file").addEventListener("change", () => { if ($("file").files.length) take($("file").files[0]); });
$("keep").addEventListener("input", say);
$("keep").addEventListener("change", () => { if (state.video && state.about.keep_while_watching) watch(); });
$("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (question) ask(question);
  $("question").value = "";
});
$("key-form").addEventListener("submit", (event) => { event.preventDefault(); state.key = $("key").value; begin(); });
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length && state.about) take(event.dataTransfer.files[0]);
  });
}
begin();
