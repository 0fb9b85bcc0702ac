// Small helpers: elements, pictures on canvases, texts.

/** @param {string} id @returns {any} */
export const get = (id) => document.getElementById(id);

/** @param {string} text */
export function announce(text) {
  get("announcer").textContent = text;
}

/** A button in a group, of which one at most is pressed.
 * @param {HTMLElement} group @param {string} text @param {(button: HTMLElement) => void} action */
export function addChoice(group, text, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", () => action(button));
  group.append(button);
  return button;
}

/** @param {Iterable<Element>} buttons @param {Element} chosen */
export function press(buttons, chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
}

/** @param {any} select @param {(string | number)[]} values @param {string | number} chosen */
export function fillSelect(select, values, chosen) {
  select.replaceChildren(...values.map((value) => new Option(String(value), String(value))));
  select.value = String(chosen);
}

/** Show images (N, C, S, S) in 0 ... 255 as a grid.
 * @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} images
 * @param {{channels: number, size: number}} image @param {number} columns */
export function showImages(canvas, images, { channels, size }, columns = 1) {
  const area = size * size, count = images.length / (channels * area);
  const rows = Math.ceil(count / columns);
  canvas.width = columns * size;
  canvas.height = rows * size;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  for (let n = 0; n < count; n++) {
    for (let k = 0; k < area; k++) {
      const x = (n % columns) * size + (k % size);
      const y = Math.floor(n / columns) * size + Math.floor(k / size);
      const at = 4 * (y * canvas.width + x);
      for (let c = 0; c < 3; c++) {
        picture.data[at + c] = images[(n * channels + Math.min(c, channels - 1)) * area + k];
      }
      picture.data[at + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
}

/** Show a square of numbers: blue is negative, red is positive, black is 0.
 * @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} values @param {number} most */
export function showNumbers(canvas, values, most) {
  const side = Math.round(Math.sqrt(values.length));
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d"), picture = context.createImageData(side, side);
  for (let k = 0; k < values.length; k++) {
    const share = Math.min(Math.abs(values[k]) / most, 1);
    const color = values[k] < 0 ? [70, 150, 255] : [255, 120, 60];
    color.forEach((part, c) => { picture.data[4 * k + c] = Math.round(part * share); });
    picture.data[4 * k + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/** Curves over timesteps, with names at their right ends, and a marker.
 * @param {HTMLCanvasElement} canvas
 * @param {{values: number[], color: string, dash?: boolean, name?: string}[]} curves
 * @param {number} marker */
export function showCurves(canvas, curves, marker) {
  const scale = window.devicePixelRatio || 1, width = 400 * scale, height = 200 * scale;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  let most = 1e-9;
  for (const { values } of curves) for (const value of values) most = Math.max(most, value);
  const count = curves[0].values.length, style = getComputedStyle(document.body);
  const across = (/** @type {number} */ t) => 6 * scale + (t / Math.max(count - 1, 1)) * (width - 24 * scale);
  context.lineWidth = 2 * scale;
  context.font = `${12 * scale}px sans-serif`;
  for (const { values, color, dash, name } of curves) {
    context.strokeStyle = color;
    context.setLineDash(dash ? [5 * scale, 4 * scale] : []);
    context.beginPath();
    values.forEach((value, t) => context.lineTo(across(t), height - 16 * scale
      - (value / most) * (height - 32 * scale)));
    context.stroke();
    context.fillStyle = color;
    if (name) context.fillText(name, across(count - 1) + 4 * scale, height - 12 * scale
      - (values[count - 1] / most) * (height - 32 * scale));
  }
  context.setLineDash([]);
  context.fillStyle = style.color;
  context.fillText(most.toPrecision(2), 2 * scale, 12 * scale);
  context.fillText("t = 0", 2 * scale, height - 2 * scale);
  const end = `t = ${count - 1}`;
  context.fillText(end, across(count - 1) - context.measureText(end).width, height - 2 * scale);
  context.strokeStyle = style.color;
  context.lineWidth = scale;
  context.beginPath();
  context.moveTo(across(marker), 0);
  context.lineTo(across(marker), height);
  context.stroke();
}

/** Show a command, or nothing where there is none. @param {string} name @param {string} text */
export function showCommand(name, text) {
  const code = get(`${name}-command`);
  code.textContent = text;
  code.parentElement.hidden = !text;
}

/** A copy button for a command. @param {string} name */
export function copies(name) {
  const button = get(`copy-${name}`), before = button.textContent;
  button.addEventListener("click", async () => {
    const code = get(`${name}-command`);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch { // a file has no clipboard in some browsers: select the text instead
      getSelection().selectAllChildren(code);
      button.textContent = "Selected: copy it";
    }
    setTimeout(() => { button.textContent = before; }, 2000);
  });
}

/** The column and row that an arrow key leads to, or undefined for another key.
 * @param {string} key @param {number[]} at @param {number} side */
export function moved(key, [column, row], side) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const move = moves[/** @type {keyof moves} */ (key)];
  return move && [column + move[0], row + move[1]].map((to) => Math.min(Math.max(to, 0), side - 1));
}

/** Where a pointer is on a canvas that shows a square: column and row, as fractions of `side`.
 * @param {PointerEvent} event @param {number} side @returns {[number, number]} */
export function place(event, side) {
  const box = /** @type {Element} */ (event.target).getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * side, ((event.clientY - box.top) / box.height) * side];
}

/** The whole number of an input, within its limits; the input shows it. @param {HTMLInputElement} input */
export function whole(input) {
  const value = Math.floor(Number(input.value));
  const found = Math.min(Math.max(Number.isFinite(value) ? value : 0, 0), Number(input.max));
  input.value = String(found);
  return found;
}
