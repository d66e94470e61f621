/** Where the page's data comes from: the server it came from, or the files that --export wrote beside it. */
export const NAMES = 4096; // names come in chunks of as many (payloads.py)
export const NEAR = 256; // neighbours, in an export
export const UPLOAD = 32 << 20; // bytes of a picture (server.py)

async function answer(path, options) {
  const found = await fetch(path, options).catch(() => {
    throw new Error("The server does not answer; is it still running?");
  });
  if (found.ok) return found;
  const said = await found.json().catch(() => ({}));
  throw new Error(said.error ?? `The server answered ${found.status}.`);
}

class Source {
  constructor() {
    this.kept = new Map();
  }

  once(key, make) {
    if (!this.kept.has(key)) {
      const made = make();
      made.catch(() => this.kept.delete(key));
      this.kept.set(key, made);
    }
    return this.kept.get(key);
  }

  json(key) {
    return this.once(key, () => this.read(key));
  }

  async numbers(key, Type) {
    return new Type(await this.once(key, () => this.bytes(key)));
  }

  async name(id) {
    return (await this.json(`names-${Math.floor(id / NAMES)}`))[id % NAMES];
  }

  /** All names, for a search in them. */
  async names(count) {
    const chunks = Array.from({ length: Math.ceil(count / NAMES) }, (_, place) => this.json(`names-${place}`));
    return (await Promise.all(chunks)).flat();
  }
}

/** The server. */
class Live extends Source {
  async read(key) {
    return (await answer(`data/${key}`)).json();
  }

  async bytes(key) {
    return (await answer(`data/${key}`)).arrayBuffer();
  }

  thumbnail(id) {
    return `thumbnails/${id}?v=${this.version}`;
  }

  picture(id) {
    return `pictures/${id}?v=${this.version}`;
  }

  async neighbours(side, id) {
    return (await answer(`api/pictures/${id}/neighbours?side=${side}`)).json();
  }

  async encode(side, picture) {
    const headers = { "Content-Type": "application/octet-stream" };
    return (await answer(`api/encode?side=${side}`, { method: "POST", headers, body: picture })).json();
  }

  async label(ids, label) {
    const headers = { "Content-Type": "application/json" };
    return (await answer("api/labels", { method: "POST", headers, body: JSON.stringify({ ids, label }) })).json();
  }
}

/** Files beside the page. They are scripts, because a page opened from a disk may load scripts and nothing else. */
class Beside extends Source {
  constructor() {
    super();
    this.waiting = new Map();
    globalThis.selfsightData = (key, value) => this.waiting.get(key)?.(value);
  }

  read(key) {
    return new Promise((resolve, reject) => {
      this.waiting.set(key, resolve);
      const script = document.createElement("script");
      script.src = `data/${key}.js`;
      script.onload = () => script.remove();
      script.onerror = () => reject(new Error("This was not exported."));
      document.head.append(script);
    });
  }

  async bytes(key) {
    return Uint8Array.from(atob(await this.read(key)), (letter) => letter.charCodeAt(0)).buffer;
  }

  thumbnail(id) {
    return `thumbnails/${id}.jpg`;
  }

  picture(id) {
    return `pictures/${id}.jpg`;
  }

  async neighbours(side, id) {
    return (await this.json(`near-${side}-${Math.floor(id / NEAR)}`))[id % NEAR];
  }
}

export const source = document.documentElement.hasAttribute("data-exported") ? new Beside() : new Live();
