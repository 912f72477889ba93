(() => {
  const TILE = 32, COLUMNS = 64, STEP = 600, SORTED = 4;
  const SHAPES = JSON.parse(document.getElementById("shapes").textContent);

  // paper shows everything
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));

  // tables: a click on a head sorts by its column, numbers by their value, and another click turns the order
  const value = cell => {
    const known = cell.querySelector("data"), text = cell.textContent.trim();
    const number = known ? Number(known.value) : parseFloat(text.replace(/,/g, ""));
    return Number.isNaN(number) ? text : number;
  };
  const before = (a, b) => typeof a === typeof b ? (a < b ? -1 : Number(a > b)) : typeof a === "number" ? -1 : 1;
  document.querySelectorAll("table").forEach(table => {
    const body = table.tBodies[0], heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
    if (!body || body.rows.length < SORTED) return;
    heads.forEach((head, column) => {
      const sorter = document.createElement("button");
      sorter.type = "button";
      sorter.className = "sort";
      sorter.append(...head.childNodes);
      head.append(sorter);
      sorter.addEventListener("click", () => {
        const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach(each => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
        const rows = [...body.rows].map(row => [value(row.cells[column]), row]);
        rows.sort(([a], [b]) => way * before(a, b)).forEach(([, row]) => body.append(row));
      });
    });
  });

  const sheets = JSON.parse(document.getElementById("sheets").textContent);
  document.querySelectorAll("section.map").forEach(section => {
    const data = JSON.parse(section.querySelector("script").textContent);
    const sheet = new Image();
    if (sheets[data.sheet]) sheet.src = sheets[data.sheet];
    featureMap(section, data, sheet);
  });

  function shape(pen, corners, x, y, r) {
    pen.beginPath();
    if (corners.length) corners.forEach(([right, down]) => pen.lineTo(x + r * right, y + r * down));
    else pen.arc(x, y, r, 0, 7);
    pen.fill();
  }

  function featureMap(section, data, sheet) {
    const canvas = section.querySelector("canvas"), tip = section.querySelector(".tip");
    const slider = section.querySelector("input[type=range]"), output = section.querySelector("output");
    const play = section.querySelector(".play"), group = section.querySelector(".switches");
    const epochs = [...section.querySelectorAll(".epoch")];
    const shown = data.classes.map(() => true), count = data.targets.length;
    const last = data.maps.length - 1;
    let only = -1, found = null, chosen = -1, places = [], frame = 0, radius = 4;

    section.querySelector(".interactive").hidden = false;
    section.classList.add("ready");

    function colour(name) {
      canvas.style.color = name;
      const found = getComputedStyle(canvas).color;
      canvas.style.color = "";
      return found;
    }

    // where the points are between two maps
    function at(time) {
      const from = data.maps[Math.floor(time)].xy, to = data.maps[Math.ceil(time)].xy;
      const share = time - Math.floor(time);
      return from.map((xy, i) => [xy[0] + share * (to[i][0] - xy[0]), xy[1] + share * (to[i][1] - xy[1])]);
    }

    function draw() {
      const time = Number(slider.value), near = Math.round(time);
      const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
      canvas.width = width * ratio;
      canvas.height = height * ratio;
      radius = Math.max(2.4, Math.min(6, 110 / Math.sqrt(count)));
      const pad = 14, side = Math.min(width, height) - 2 * pad;
      const wide = Math.min((width - 2 * pad) / side, 1.15) * side;
      places = at(time).map(([x, y]) => [(width - wide) / 2 + x * wide, (height - side) / 2 + (1 - y) * side]);
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      const colours = data.styles.map(([place]) => colour(`var(--k${place})`)), plain = colour("var(--gray)");
      const gray = target => !found && only !== target && data.gray.includes(target);
      // what is gray lies below, and what is searched for above
      const rank = i => (found ? found[i] : only < 0 ? !gray(data.targets[i]) : only === data.targets[i]) ? 1 : 0;
      const faint = found || only >= 0;
      for (const layer of [0, 1]) places.forEach(([x, y], i) => {
        const target = data.targets[i];
        if (!shown[target] || rank(i) !== layer) return;
        pen.globalAlpha = layer ? 0.85 : faint ? 0.12 : 0.6;
        pen.fillStyle = gray(target) ? plain : colours[target];
        shape(pen, SHAPES[data.styles[target][1]], x, y, found && layer ? 1.4 * radius : radius);
      });
      if (data.gray.length) nameClasses(pen, width, height);
      if (chosen >= 0 && shown[data.targets[chosen]]) {
        pen.globalAlpha = 1;
        pen.lineWidth = 2;
        pen.strokeStyle = colour("");
        pen.beginPath();
        pen.arc(...places[chosen], radius + 4, 0, 7);
        pen.stroke();
      }
      output.textContent = data.maps[near].epoch;
      slider.setAttribute("aria-valuetext", "epoch " + data.maps[near].epoch);
      epochs.forEach((each, place) => each.setAttribute("aria-pressed", String(place === time)));
    }

    // of many classes, the names of those in color, at their medians; where two would overlap, the first alone
    function nameClasses(pen, width, height) {
      const middle = values => values.sort((a, b) => a - b)[values.length >> 1], taken = [], half = 8;
      pen.globalAlpha = 1;
      pen.font = "600 12px system-ui, sans-serif";
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.lineWidth = 4;
      pen.strokeStyle = getComputedStyle(canvas).backgroundColor;
      pen.fillStyle = colour("");
      data.classes.forEach((name, target) => {
        const own = places.filter((_, i) => data.targets[i] === target);
        const named = only < 0 ? !data.gray.includes(target) : only === target;
        if (!own.length || !shown[target] || found || !named) return;
        const reach = pen.measureText(name).width / 2 + 3;
        const x = Math.min(Math.max(middle(own.map(place => place[0])), reach), width - reach);
        const y = Math.min(Math.max(middle(own.map(place => place[1])), half), height - half);
        if (taken.some(box => Math.abs(box[0] - x) < box[2] + reach && Math.abs(box[1] - y) < 2 * half)) return;
        taken.push([x, y, reach]);
        pen.strokeText(name, x, y);
        pen.fillText(name, x, y);
      });
    }

    function tell() {
      tip.hidden = chosen < 0 || !shown[data.targets[chosen]];
      if (tip.hidden) return;
      const text = document.createElement("span"), name = document.createElement("b");
      name.textContent = data.classes[data.targets[chosen]];
      text.append(name, document.createElement("br"), data.filenames[chosen]);
      tip.replaceChildren(text);
      if (sheet.complete && sheet.naturalWidth) {
        const tile = document.createElement("canvas");
        tile.width = tile.height = 2 * TILE;
        const from = [chosen % COLUMNS * TILE, Math.floor(chosen / COLUMNS) * TILE];
        tile.getContext("2d").drawImage(sheet, ...from, TILE, TILE, 0, 0, 2 * TILE, 2 * TILE);
        tip.prepend(tile);
      }
      const [x, y] = places[chosen], right = canvas.clientWidth - x;
      tip.style.left = right < 200 ? "auto" : x + 14 + "px";
      tip.style.right = right < 200 ? right + 14 + "px" : "auto";
      tip.style.top = Math.max(0, Math.min(y - 20, canvas.clientHeight - 84)) + "px";
    }

    function choose(index) {
      if (index === chosen) return;
      chosen = index;
      draw();
      tell();
    }

    canvas.addEventListener("pointermove", event => {
      const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      let best = -1, least = 14 * 14;
      places.forEach((place, i) => {
        const far = (place[0] - x) ** 2 + (place[1] - y) ** 2;
        if (far < least && shown[data.targets[i]]) { best = i; least = far; }
      });
      choose(best);
    });
    canvas.addEventListener("pointerleave", () => choose(-1));
    canvas.addEventListener("blur", () => choose(-1));

    // arrow keys: the nearest image in that direction
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    canvas.addEventListener("keydown", event => {
      if (event.key === "Escape") return choose(-1);
      const way = ways[event.key];
      if (!way) return;
      event.preventDefault();
      const seen = data.targets.map((target, i) => i).filter(i => shown[data.targets[i]]);
      if (chosen < 0 || !shown[data.targets[chosen]]) return choose(seen.length ? seen[0] : -1);
      let best = chosen, least = Infinity;
      seen.forEach(i => {
        const x = places[i][0] - places[chosen][0], y = places[i][1] - places[chosen][1];
        const ahead = x * way[0] + y * way[1], aside = Math.abs(x * way[1]) + Math.abs(y * way[0]);
        if (i !== chosen && ahead > 0 && ahead + 2 * aside < least) { best = i; least = ahead + 2 * aside; }
      });
      choose(best);
    });

    // classes: a click hides or shows one, pointing at it fades the others
    const switches = data.classes.map((name, place) => {
      const each = document.createElement("button"), swatch = document.createElement("span");
      each.type = "button";
      swatch.className = `swatch k${data.styles[place][0]} s${data.styles[place][1]}`;
      each.append(swatch, name);
      each.addEventListener("click", () => { shown[place] = !shown[place]; update(); });
      const point = place => () => { only = place; draw(); };
      each.addEventListener("pointerenter", point(place));
      each.addEventListener("focus", point(place));
      each.addEventListener("pointerleave", point(-1));
      each.addEventListener("blur", point(-1));
      return each;
    });
    // a search: points of the classes, or the files, whose names have these letters stand out
    const search = section.querySelector(".search"), hits = section.querySelector(".hits");
    search.addEventListener("input", () => {
      const word = search.value.trim().toLowerCase();
      const has = data.classes.map(name => name.toLowerCase().includes(word));
      found = word ? data.targets.map((target, i) => has[target] || data.filenames[i].toLowerCase().includes(word)) : null;
      hits.textContent = found ? `${found.filter(Boolean).length} of ${count} points` : "";
      switches.forEach((each, place) => { each.hidden = Boolean(found) && has.some(Boolean) && !has[place]; });
      draw();
    });

    const all = document.createElement("button");
    all.type = "button";
    all.addEventListener("click", () => { shown.fill(!shown.every(Boolean)); update(); });
    group.append(all, ...switches);

    function update() {
      switches.forEach((each, place) => each.setAttribute("aria-pressed", String(shown[place])));
      all.textContent = shown.every(Boolean) ? "Hide all" : "Show all";
      draw();
      tell();
    }

    function go(target) {
      cancelAnimationFrame(frame);
      const start = Number(slider.value), began = performance.now();
      const time = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : STEP * Math.abs(target - start);
      const step = now => {
        const share = time ? Math.min(1, Math.max(0, now - began) / time) : 1;
        slider.value = share < 1 ? start + share * (target - start) : target;
        draw();
        tell();
        if (share < 1) frame = requestAnimationFrame(step);
      };
      step(began);
    }

    slider.addEventListener("input", () => { cancelAnimationFrame(frame); draw(); tell(); });
    play.addEventListener("click", () => {
      if (Number(slider.value) >= last) slider.value = 0;
      go(last);
    });
    epochs.forEach((each, place) => {
      each.disabled = false;
      each.addEventListener("click", () => go(place));
    });
    section.querySelector(".move").hidden = last === 0;
    watchers.push(draw);
    new ResizeObserver(draw).observe(canvas);
    update();
  }
})();
