// The microphone: Opus in small pieces of WebM, its level, and when the user last spoke.

const TIMESLICE_MS = 60; // browsers encode packets of 60 ms: smaller pieces would be empty
const BITS_PER_SECOND = 24_000;
const LEVEL_MS = 50;
const LOUD_DBFS = -45;
const TAIL_MS = 150; // who lets go of the key is often still finishing the word
const LAST_PIECE_MS = 300;
// What the door takes, as browsers name it. Both hold the same Opus packets.
const FORMATS = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus"];

export class MicrophoneError extends Error {}

export function recordingFormat() {
  return globalThis.MediaRecorder ? FORMATS.find((each) => MediaRecorder.isTypeSupported(each)) : undefined;
}

const REASONS = {
  NotAllowedError: "The microphone was refused. Allow it in the browser's site settings, or type instead.",
  SecurityError: "The browser does not give this page the microphone. You can type instead.",
  NotFoundError: "No microphone was found. Connect one and start again, or type instead.",
  OverconstrainedError: "No microphone fits. You can type instead.",
  NotReadableError: "The microphone is used by another program. Close it and start again, or type instead.",
  AbortError: "The microphone could not be started. Try again, or type instead.",
};

// Raises MicrophoneError with a sentence for the user.
async function askForSound() {
  if (!globalThis.isSecureContext || !navigator.mediaDevices) {
    throw new MicrophoneError("Browsers give microphone and sound to https pages only. You can type instead.");
  }
  if (!recordingFormat()) {
    throw new MicrophoneError("This browser cannot record Opus: use a newer one, or type instead.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
    });
  } catch (error) {
    throw new MicrophoneError(REASONS[error.name] || `The microphone failed (${error.name}). You can type instead.`);
  }
}

// Calls of `handlers`: piece(base64, isFinal), level(0 to 1), lost().
export class Microphone {
  lastLoudAt = 0; // performance.now()
  #stream;
  #context;
  #analyser;
  #samples;
  #handlers;
  #recorder = null;
  #order = Promise.resolve();
  #timer = 0;
  #isHeld = false;
  #holds = 0;

  static async open(handlers) {
    return new Microphone(await askForSound(), handlers);
  }

  constructor(stream, handlers) {
    this.#stream = stream;
    this.#handlers = handlers;
    for (const track of stream.getAudioTracks()) {
      track.onended = () => handlers.lost();
    }
    this.#context = new AudioContext();
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = 2048;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#context.createMediaStreamSource(stream).connect(this.#analyser);
    this.#timer = setInterval(() => this.#measure(), LEVEL_MS);
  }

  // A new recording, with its header: what a new socket needs.
  record({ held = false } = {}) {
    this.stop();
    this.#isHeld = held;
    const recorder = new MediaRecorder(this.#stream, {
      mimeType: recordingFormat(),
      audioBitsPerSecond: BITS_PER_SECOND,
    });
    this.#recorder = recorder;
    recorder.ondataavailable = ({ data }) => this.#pass(recorder, data);
    recorder.start(TIMESLICE_MS);
    if (held) {
      recorder.pause();
    }
  }

  stop() {
    const recorder = this.#recorder;
    this.#recorder = null;
    if (recorder && recorder.state !== "inactive") {
      recorder.ondataavailable = null;
      recorder.stop();
    }
  }

  // Push-to-talk: begin to be heard.
  press() {
    this.#holds += 1;
    if (this.#isHeld && this.#recorder?.state === "paused") {
      this.#recorder.resume();
    }
  }

  // Push-to-talk: the turn is over as soon as its last piece has gone.
  async release() {
    const hold = this.#holds;
    const recorder = this.#recorder;
    if (recorder?.state !== "recording") {
      return;
    }
    await elapsed(TAIL_MS);
    if (hold !== this.#holds || recorder !== this.#recorder || recorder.state !== "recording") {
      return; // pressed again meanwhile, or a new recording
    }
    const lastPiece = new Promise((done) => recorder.addEventListener("dataavailable", done, { once: true }));
    recorder.requestData();
    await Promise.race([lastPiece, elapsed(LAST_PIECE_MS)]);
    if (recorder.state === "recording") {
      recorder.pause();
    }
    this.#order = this.#order.then(() => this.#handlers.piece("", true));
  }

  set muted(isMuted) {
    for (const track of this.#stream.getAudioTracks()) {
      track.enabled = !isMuted;
    }
  }

  async close() {
    clearInterval(this.#timer);
    this.stop();
    for (const track of this.#stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
    await this.#context.close();
  }

  // In order, whatever the time each piece takes to be read.
  #pass(recorder, data) {
    if (!data.size) {
      return;
    }
    const read = data.arrayBuffer();
    this.#order = this.#order.then(async () => {
      const bytes = new Uint8Array(await read);
      if (recorder === this.#recorder) {
        this.#handlers.piece(base64(bytes), false);
      }
    });
  }

  #measure() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) {
      sum += sample * sample;
    }
    const dbfs = 10 * Math.log10(sum / this.#samples.length + 1e-12);
    if (dbfs > LOUD_DBFS) {
      this.lastLoudAt = performance.now();
    }
    this.#handlers.level(Math.min(1, Math.max(0, (dbfs + 60) / 60)));
  }
}

function elapsed(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return btoa(text);
}
