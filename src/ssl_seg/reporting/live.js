(() => {
  const SECONDS = 2, LOST_SECONDS = 5, TIMEOUT = 20000;
  const main = document.querySelector("main"), state = document.getElementById("state");
  const title = document.title, token = document.documentElement.dataset.token;
  let wake = () => {}, last = new Date();

  async function ask(path) {
    const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
    if (!answer.ok) throw new Error(answer.status);
    return answer;
  }

  // what is open and how far it was moved stays so
  function replace(part, html) {
    const open = new Set([...part.querySelectorAll("details[open]")].map(each => each.id));
    const moved = [...part.querySelectorAll(".scroll")].map(each => each.scrollLeft);
    part.innerHTML = html;
    part.querySelectorAll("details").forEach(each => { each.open = open.has(each.id); });
    part.querySelectorAll(".scroll").forEach((each, place) => { each.scrollLeft = moved[place] || 0; });
  }

  async function update() {
    const answer = await (await ask("/parts")).json();
    if (answer.token !== token) return location.reload();
    const fresh = [];
    for (const [name, digest] of answer.parts) {
      let part = document.getElementById(name);
      if (!part) {
        part = document.createElement("section");
        part.id = name;
      }
      if (part.dataset.digest !== digest) {
        replace(part, await (await ask("/part/" + digest)).text());
        part.dataset.digest = digest;
      }
      fresh.push(part);
    }
    if (fresh.length !== main.children.length || fresh.some((part, place) => main.children[place] !== part))
      main.replaceChildren(...fresh);
    document.title = main.querySelector("[data-title]").dataset.title + title;
    last = new Date();
  }

  async function watch() {
    for (;;) {
      let seconds = SECONDS;
      if (!document.hidden) {
        try {
          await update();
          state.textContent = `Updated ${last.toLocaleTimeString()}, every ${SECONDS} s.`;
          state.className = "by";
        } catch {
          seconds = LOST_SECONDS;
          state.textContent = `No answer from ssl-seg watch; the page is of ${last.toLocaleTimeString()}.`;
          state.className = "by lost";
        }
      }
      await new Promise(done => { wake = done; setTimeout(done, 1000 * seconds); });
    }
  }

  document.addEventListener("visibilitychange", () => wake());
  watch();
})();
