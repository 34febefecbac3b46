'use strict';

const get = id => document.getElementById(id);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// Figures: what stands behind a marker, for a pointer, a finger and the arrow keys

const REACH = 14; // pixels from a marker's middle within which it is meant
const tip = get('tip');

function tell(marker, text) {
  tip.textContent = text;
  tip.hidden = false;
  const box = marker.getBoundingClientRect();
  const left = clamp(box.x + box.width / 2 - tip.offsetWidth / 2, 8, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = box.y - tip.offsetHeight - 8;
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${(above > 8 ? above : box.bottom + 8) + window.scrollY}px`;
}

for (const figure of document.querySelectorAll('.plate svg')) {
  const texts = new Map();
  for (const title of [...figure.querySelectorAll('title')]) {
    const marker = title.parentNode;
    texts.set(marker, title.textContent);
    marker.setAttribute('role', 'img');
    marker.setAttribute('aria-label', title.textContent);
    marker.setAttribute('tabindex', texts.size === 1 ? 0 : -1); // one stop for the Tab key; the arrow keys do the rest
    title.remove(); // or the browser would show it a second time
  }
  const markers = [...texts.keys()];
  figure.addEventListener('pointermove', event => {
    let nearest = null, least = REACH;
    for (const marker of markers) {
      const box = marker.getBoundingClientRect();
      const inside = marker.localName !== 'use' && event.target === marker;
      const far = inside ? 0 : Math.hypot(event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2);
      if (far < least) [nearest, least] = [marker, far];
    }
    if (nearest) tell(nearest, texts.get(nearest)); else tip.hidden = true;
  });
  figure.addEventListener('pointerleave', () => { tip.hidden = true; });
  figure.addEventListener('focusin', event => texts.has(event.target) && tell(event.target, texts.get(event.target)));
  figure.addEventListener('focusout', () => { tip.hidden = true; });
  figure.addEventListener('keydown', event => {
    if (event.key === 'Escape') tip.hidden = true;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const from = markers.indexOf(event.target);
    if (!step || from < 0) return;
    event.preventDefault();
    const to = markers[(from + step + markers.length) % markers.length];
    event.target.setAttribute('tabindex', -1);
    to.setAttribute('tabindex', 0);
    to.focus();
  });
}

// The attended part of a sound, as tla.sound.render makes it: the clip's short-time spectrum is scaled and inverted with its own phase

/** A complex Fourier transform of any length that has small factors, in place (Stockham). */
function fourier(n) {
  const cos = Float64Array.from({ length: n }, (_, i) => Math.cos(2 * Math.PI * i / n));
  const sin = Float64Array.from({ length: n }, (_, i) => Math.sin(2 * Math.PI * i / n));
  const factors = [];
  for (let rest = n, p = 2; rest > 1;) {
    if (rest % p) p++; else { factors.push(p); rest /= p; }
  }
  const spare = [new Float64Array(n), new Float64Array(n)];
  return (re, im, sign) => {
    let [xr, xi] = [re, im], [yr, yi] = spare, stride = 1, left = n;
    for (const p of factors) {
      const q = left / p;
      for (let j = 0; j < q; j++) {
        for (let a = 0; a < p; a++) {
          for (let k = 0; k < stride; k++) {
            let sumr = 0, sumi = 0;
            for (let b = 0; b < p; b++) {
              const turn = a * (b * (n / p) + j * stride) % n, at = k + stride * (j + q * b);
              const c = cos[turn], s = sign * sin[turn];
              sumr += xr[at] * c - xi[at] * s;
              sumi += xr[at] * s + xi[at] * c;
            }
            yr[k + stride * (p * j + a)] = sumr;
            yi[k + stride * (p * j + a)] = sumi;
          }
        }
      }
      [xr, xi, yr, yi] = [yr, yi, xr, xi];
      stride *= p;
      left = q;
    }
    if (xr !== re) { re.set(xr); im.set(xi); }
  };
}

/** A function from a mask (mels, columns) to what it lets through of the samples. */
function splitter(samples, span, mels, columns, { fft: n, window: width, hop, bins }) {
  const transform = fourier(n), half = n >> 1;
  const taper = Float64Array.from({ length: width }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / width));
  const count = Math.floor((samples.length + 2 * half - n) / hop) + 1;
  const begin = frame => frame * hop - half + ((n - width) >> 1);
  const weight = new Float64Array(samples.length), spectra = [];
  for (let frame = 0; frame < count; frame += 2) { // two real frames are one complex one
    const re = new Float64Array(n), im = new Float64Array(n);
    for (const [part, at] of [[re, frame], [im, frame + 1]]) {
      for (let i = 0, to = begin(at); i < width && at < count; i++, to++) {
        if (to < 0 || to >= samples.length) continue;
        part[i] = samples[to] * taper[i];
        weight[to] += taper[i] * taper[i];
      }
    }
    transform(re, im, -1);
    spectra.push([re, im]);
  }
  const gain = [new Float64Array(half + 1), new Float64Array(half + 1)], column = new Float64Array(mels + 1);
  const setGain = (gains, mask, frame) => {
    const sample = frame * hop, where = clamp((sample - span[0]) * columns / (span[1] - span[0]) - 0.5, 0, columns - 1);
    const left = Math.min(Math.floor(where), Math.max(columns - 2, 0)), right = Math.min(left + 1, columns - 1), share = where - left;
    const inside = sample >= span[0] && sample <= span[1] ? 1 : 0;
    for (let mel = 0; mel < mels; mel++) {
      column[mel] = inside * (mask[mel * columns + left] * (1 - share) + mask[mel * columns + right] * share);
    }
    for (let bin = 0; bin <= half; bin++) {
      const low = Math.floor(bins[bin]), high = bins[bin] - low;
      gains[bin] = column[low] * (1 - high) + column[low + 1] * high;
    }
  };
  const re = new Float64Array(n), im = new Float64Array(n);
  return mask => {
    const attended = new Float32Array(samples.length);
    spectra.forEach(([sr, si], pair) => {
      gain.forEach((gains, which) => setGain(gains, mask, 2 * pair + which));
      for (let k = 0; k < n; k++) {
        const mirror = k ? n - k : 0, bin = Math.min(k, n - k), sum = (gain[0][bin] + gain[1][bin]) / 2 / n, gap = (gain[0][bin] - gain[1][bin]) / 2 / n;
        re[k] = sum * sr[k] + gap * sr[mirror];
        im[k] = sum * si[k] - gap * si[mirror];
      }
      transform(re, im, 1);
      for (const [part, at] of [[re, 2 * pair], [im, 2 * pair + 1]]) {
        for (let i = 0, to = begin(at); i < width && at < count; i++, to++) {
          if (to >= 0 && to < samples.length && weight[to] > 1e-9) attended[to] += part[i] * taper[i] / weight[to];
        }
      }
    });
    return attended;
  };
}

/** Samples as a 16-bit wave file. */
function wave(samples, rate) {
  const file = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (at, text) => [...text].forEach((letter, i) => file.setUint8(at + i, letter.charCodeAt(0)));
  word(0, 'RIFF'); file.setUint32(4, 36 + 2 * samples.length, true); word(8, 'WAVEfmt ');
  file.setUint32(16, 16, true); file.setUint16(20, 1, true); file.setUint16(22, 1, true);
  file.setUint32(24, rate, true); file.setUint32(28, 2 * rate, true); file.setUint16(32, 2, true); file.setUint16(34, 16, true);
  word(36, 'data'); file.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => file.setInt16(44 + 2 * i, clamp(Math.round(value * 32768), -32768, 32767), true));
  return new Blob([file.buffer], { type: 'audio/wav' });
}

// The listening room

function openRoom(room) {
  const { rate, mels, shares, strengths } = room;
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const plan = { ...room.plan, bins: new Float32Array(bytes(room.plan.bins).buffer) };
  const magma = bytes(room.magma);
  const canvases = [...document.querySelectorAll('.picture canvas')], pictures = get('pictures');
  const sounds = { clip: get('audio-clip'), attended: get('audio-attended'), rest: get('audio-rest') };
  const slider = get('share');
  let clip = null, part = 'clip', stale = true, turn = 0;

  const number = (value, digits) => value.toFixed(digits);
  const percent = share => `${+(100 * share).toFixed(1)}\u00a0%`;
  const probability = p => p > 0.995 ? 'over 99\u00a0%' : p < 0.005 ? 'under 1\u00a0%' : `${Math.round(100 * p)}\u00a0%`;
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).match(/\w\w/g).slice(0, 3).map(hex => parseInt(hex, 16));

  /** How much of each strength is let through at the chosen share (256,). */
  function through() {
    const level = clip.levels[slider.value];
    return strengths.map(strength => level > 0 ? Math.min(1, strength / level) : 1);
  }

  function paint(canvas, columns, shade) {
    canvas.width = columns;
    canvas.height = mels;
    const pen = canvas.getContext('2d'), image = pen.createImageData(columns, mels);
    for (let row = 0, to = 0; row < mels; row++) {
      for (let at = (mels - 1 - row) * columns; at < (mels - row) * columns; at++, to += 4) {
        const [red, green, blue] = shade(at);
        image.data[to] = red; image.data[to + 1] = green; image.data[to + 2] = blue; image.data[to + 3] = 255;
      }
    }
    pen.putImageData(image, 0, 0);
  }

  const bright = level => magma.subarray(3 * level, 3 * level + 3);

  function drawPictures() {
    const lets = through(), [fog, grain] = ['--fog', '--grain'].map(colour);
    clip.picture.forEach((levels, i) => paint(canvases[i], clip.columns, at => {
      const [red, green, blue] = bright(levels[at]), seen = lets[clip.strength[at]];
      const veil = i => (1 - seen) * (fog[i] + (grain[i] - fog[i]) * levels[at] / 255); // the rest stays visible, in grey
      return [seen * red + veil(0), seen * green + veil(1), seen * blue + veil(2)];
    }));
  }

  function sign() {
    const [against, neutral, speaks] = ['--against', '--neutral', '--for'].map(colour);
    return value => neutral.map((channel, i) => channel + Math.abs(value) * ((value > 0 ? speaks : against)[i] - channel));
  }

  function drawAttribution() {
    const shade = sign();
    paint(canvases.at(-1), clip.columns, at => shade(clip.attribution[at] / 127));
    const scale = get('sign-scale').getContext('2d'), image = scale.createImageData(256, 1);
    for (let i = 0; i < 256; i++) image.data.set([...shade(i / 127.5 - 1), 255], 4 * i);
    scale.putImageData(image, 0, 0);
  }

  const seconds = share => (clip.span[0] + share * (clip.span[1] - clip.span[0])) / rate;

  function drawAxes() {
    const [first, last] = [seconds(0), seconds(1)];
    const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60], step = steps.find(each => (last - first) / each <= 8) ?? 120;
    const times = [];
    for (let tick = Math.ceil(first / step) * step; tick <= last + 1e-9; tick += step) times.push(tick);
    const end = times.length - 1;
    const label = (time, i) => mark(`${+time.toFixed(2)}${i === end ? ' s' : ''}`, 'left', (time - first) / (last - first));
    document.querySelector('.seconds').replaceChildren(...times.map(label));
    for (const axis of document.querySelectorAll('.hertz')) {
      const ticks = [200, 1000, 2000, 5000, 10000, 20000].filter(hertz => hertz > room.hertz[0] && hertz < room.hertz.at(-1));
      axis.replaceChildren(...ticks.map(hertz => {
        const above = room.hertz.findIndex(each => each >= hertz), below = room.hertz[above - 1];
        const place = above - 1 + (hertz - below) / (room.hertz[above] - below);
        return mark(hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`, 'bottom', (place + 0.5) / mels);
      }));
    }
  }

  function mark(text, side, share) {
    const label = document.createElement('span');
    label.textContent = text;
    label.style[side] = `${100 * share}%`;
    return label;
  }

  function drawAnswers() {
    const chart = get('answers'), draw = (name, attributes) => {
      const shape = document.createElementNS('http://www.w3.org/2000/svg', name);
      for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
      return shape;
    };
    const x = i => 100 * i / (shares.length - 1), y = p => 100 - 100 * p;
    const line = (values, name) => draw('polyline', { points: values.map((p, i) => `${x(i)},${y(p)}`).join(' '), class: name });
    const graph = draw('svg', { viewBox: '0 0 100 100', preserveAspectRatio: 'none' });
    for (const p of [0, 0.5, 1]) graph.append(draw('path', { d: `M0 ${y(p)}H100`, class: 'grid' }));
    graph.append(draw('path', { d: `M${x(slider.value)} 0V100`, class: 'now' }));
    graph.append(line(clip.answers.map(pair => pair[1]), 'rest'), line(clip.answers.map(pair => pair[0]), 'attended'));
    const dots = clip.answers[slider.value].map((p, i) => {
      const dot = mark('', 'left', slider.value / (shares.length - 1));
      dot.className = i ? 'rest' : 'attended';
      dot.style.top = `${y(p)}%`;
      return dot;
    });
    const labels = [1, 0.5, 0].map(p => { const label = mark(`${100 * p} %`, 'top', 1 - p); label.className = 'tick'; return label; });
    chart.replaceChildren(graph, ...dots, ...labels);
  }

  function say() {
    const [attended, rest] = clip.answers[slider.value], level = clip.levels[slider.value];
    const whole = clip.strength.filter(strength => strengths[strength] >= level).length / clip.strength.length;
    const share = `the strongest ${percent(shares[slider.value])} of the attribution, ${percent(whole)} of the picture`;
    get('percent').textContent = share;
    const label = clip.predicted === clip.label ? '' : ` It is ${clip.label}.`;
    get('answer').textContent = `The network predicts ${clip.predicted} (${probability(clip.probability)}).${label} `
      + `From the attended part alone it says so with ${probability(attended)}, from the rest alone with ${probability(rest)}.`;
    slider.setAttribute('aria-valuetext', `${share}; ${clip.predicted} with ${probability(attended)} from it, ${probability(rest)} from the rest`);
  }

  // Sound

  const playing = () => !sounds[part].paused;
  const setSound = (name, samples) => {
    URL.revokeObjectURL(sounds[name].src);
    sounds[name].src = URL.createObjectURL(wave(samples, rate));
  };

  /** The sounds of the chosen share, made when they are first wanted. */
  function makeParts() {
    if (!stale || !clip.samples) return;
    stale = false;
    clip.split ??= splitter(clip.samples, clip.span, mels, clip.columns, plan);
    const lets = through(), attended = clip.split(Float64Array.from(clip.strength, strength => lets[strength]));
    setSound('attended', attended);
    setSound('rest', clip.samples.map((value, i) => value - attended[i]));
  }

  function changePart(name) {
    const [time, was] = [sounds[part].currentTime, playing()];
    sounds[part].pause();
    part = name;
    if (part !== 'clip') makeParts();
    sounds[part].currentTime = time;
    if (was) play(); else showTime();
  }

  function changeShare() {
    stale = true;
    drawPictures();
    drawAnswers();
    say();
    clearTimeout(turn);
    if (part !== 'clip') turn = setTimeout(() => changePart(part), 150); // while the slider is dragged, the sound waits
  }

  async function play() {
    if (part !== 'clip') makeParts();
    if (sounds[part].ended) sounds[part].currentTime = 0;
    try { await sounds[part].play(); } catch (error) { if (error.name !== 'AbortError') throw error; }
    follow();
  }

  function follow() {
    showTime();
    if (playing()) requestAnimationFrame(follow);
  }

  function seek(time) {
    if (!clip?.samples) return;
    sounds[part].currentTime = clamp(time, 0, clip.seconds - 0.001);
    showTime();
  }

  function showTime() {
    const time = Math.min(sounds[part].currentTime, clip.seconds), place = (time - seconds(0)) / (seconds(1) - seconds(0));
    pictures.style.setProperty('--place', clamp(place, 0, 1));
    get('time').textContent = `${number(time, 1)} of ${number(clip.seconds, 1)} s`;
    pictures.setAttribute('aria-valuemax', number(clip.seconds, 2));
    pictures.setAttribute('aria-valuenow', number(time, 2));
    pictures.setAttribute('aria-valuetext', `${number(time, 1)} seconds`);
    get('play').classList.toggle('playing', playing());
    get('play').setAttribute('aria-label', playing() ? 'Pause' : 'Play');
  }

  // A clip

  function unpack(stored) {
    const cells = mels * stored.columns, picture = bytes(stored.picture), windows = picture.length / cells;
    return {
      ...stored,
      picture: Array.from({ length: windows }, (_, i) => picture.subarray(i * cells, (i + 1) * cells)),
      strength: bytes(stored.strength),
      attribution: new Int8Array(bytes(stored.attribution).buffer),
    };
  }

  async function pick(stored) {
    Object.values(sounds).forEach(sound => { sound.pause(); sound.removeAttribute('src'); });
    const mine = clip = unpack(stored);
    stale = true;
    drawPictures(); drawAttribution(); drawAxes(); drawAnswers(); say();
    document.querySelectorAll('.predicted-now').forEach(name => { name.textContent = clip.predicted; });
    get('credit').textContent = clip.credit;
    showTime();
    get('play').disabled = !stored.sound;
    if (!stored.sound) return;
    const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes(stored.sound).buffer);
    if (clip !== mine) return; // another one was picked meanwhile
    clip.samples = sound.getChannelData(0);
    setSound('clip', clip.samples);
    changePart(part);
  }

  // What the reader does

  const cellUnder = event => {
    const box = canvases[0].getBoundingClientRect();
    return clamp((event.clientX - box.x) / box.width, 0, 1);
  };
  let dragged = false;
  pictures.addEventListener('pointerdown', event => { dragged = event.button === 0; if (dragged) seek(seconds(cellUnder(event))); });
  addEventListener('pointerup', () => { dragged = false; });
  pictures.addEventListener('pointermove', event => {
    if (dragged) seek(seconds(cellUnder(event)));
    const row = canvases.indexOf(event.target);
    if (row < 0) return;
    const box = event.target.getBoundingClientRect(), mel = clamp(Math.floor(mels * (box.bottom - event.clientY) / box.height), 0, mels - 1);
    const at = mel * clip.columns + Math.min(clip.columns - 1, Math.floor(cellUnder(event) * clip.columns));
    const value = row < clip.picture.length ? `${number((clip.picture[row][at] / 255 - 1) * room.range_db, 0)} dB` : `${number(clip.attribution[at] / 127 * clip.limit, 4)} logits`;
    get('readout').textContent = `${number(seconds(cellUnder(event)), 2)} s, ${Math.round(room.hertz[mel])} Hz: ${value}`;
  });
  pictures.addEventListener('keydown', event => {
    const step = { ArrowRight: 0.1, ArrowUp: 0.1, ArrowLeft: -0.1, ArrowDown: -0.1, PageUp: 1, PageDown: -1 }[event.key];
    if (step) seek(sounds[part].currentTime + step);
    else if (event.key === 'Home') seek(0);
    else if (event.key === 'End') seek(clip.seconds);
    else return;
    event.preventDefault();
  });
  const toggle = () => playing() ? (sounds[part].pause(), showTime()) : play();
  get('play').addEventListener('click', toggle);
  get('room').addEventListener('keydown', event => {
    if (event.key !== ' ' || event.target === get('play') || get('play').disabled) return;
    event.preventDefault();
    toggle();
  });
  slider.addEventListener('input', changeShare);
  document.querySelectorAll('input[name=part]').forEach(input => input.addEventListener('change', () => changePart(input.value)));
  document.querySelectorAll('input[name=clip]').forEach(input => input.addEventListener('change', () => pick(room.clips[input.value])));
  for (const sound of Object.values(sounds)) for (const happens of ['play', 'pause', 'ended']) sound.addEventListener(happens, showTime);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { drawPictures(); drawAttribution(); });

  document.querySelectorAll('.clips canvas').forEach((canvas, i) => {
    const { picture: [, middle], columns } = unpack(room.clips[i]);
    paint(canvas, columns, at => bright(middle[at]));
  });
  const scale = get('level-scale').getContext('2d'), image = scale.createImageData(256, 1);
  for (let i = 0; i < 256; i++) image.data.set([...bright(i), 255], 4 * i);
  scale.putImageData(image, 0, 0);
  const checked = document.querySelector('input[name=clip]:checked'); // a browser that goes back remembers the choice
  part = document.querySelector('input[name=part]:checked').value;
  return pick(room.clips[checked.value]);
}

if (get('room-data')) openRoom(JSON.parse(get('room-data').textContent));
