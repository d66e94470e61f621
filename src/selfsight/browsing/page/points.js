/**
 * Points on a canvas: by WebGL 2 where a graphics card does it, else as plain pixels, which a processor puts faster. The
 * address's #webgl asks for WebGL all the same. A point is a dot of one colour.
 */
const VERTEX = `#version 300 es
in vec2 before; in vec2 now; in vec4 colour;
uniform vec2 centre; uniform vec2 scale; uniform float size; uniform float share;
out vec4 shade;
void main() {
  gl_Position = vec4((mix(before, now, share) - centre) * scale, 0.0, 1.0);
  gl_PointSize = size;
  shade = colour;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 shade; uniform float size; out vec4 pixel;
void main() {
  float edge = 1.0 - smoothstep(0.5 - 1.0 / size, 0.5, length(gl_PointCoord - 0.5));
  pixel = vec4(shade.rgb, 1.0) * shade.a * edge;
}`;

export function pointsOn(canvas) {
  const card = location.hash === "#webgl" || hasCard();
  const gl = card ? canvas.getContext("webgl2", { antialias: false, alpha: true }) : null;
  return gl ? new Shaded(canvas, gl) : new Plain(canvas);
}

/** Whether WebGL is not merely computed by the processor. */
function hasCard() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return false;
  const told = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

class Shaded {
  constructor(canvas, gl) {
    Object.assign(this, { canvas, gl, count: 0 });
    this.start();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.start();
      if (this.kept) this.place(this.kept.now, this.kept.now);
      if (this.rgba) this.colour(this.rgba);
    });
  }

  start() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const uniform = (name) => gl.getUniformLocation(program, name);
    this.uniforms = { centre: uniform("centre"), scale: uniform("scale"), size: uniform("size"), share: uniform("share") };
    this.buffers = {};
    for (const [name, width, type] of [["before", 2, gl.FLOAT], ["now", 2, gl.FLOAT], ["colour", 4, gl.UNSIGNED_BYTE]]) {
      const place = gl.getAttribLocation(program, name);
      this.buffers[name] = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, width, type, type === gl.UNSIGNED_BYTE, 0, 0);
    }
  }

  send(name, values) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[name]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, values, this.gl.STATIC_DRAW);
  }

  /** Where the points are (2 N numbers) and where they come from. */
  place(before, now) {
    this.kept = { now };
    this.count = now.length / 2;
    this.send("before", before);
    this.send("now", now);
  }

  colour(rgba) {
    this.rgba = rgba;
    this.send("colour", rgba);
  }

  draw(view, size, share) {
    const { gl, canvas, uniforms } = this;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.count || !this.rgba) return;
    gl.uniform2f(uniforms.centre, view.x, view.y);
    gl.uniform2f(uniforms.scale, (2 * view.scale) / canvas.clientWidth, (2 * view.scale) / canvas.clientHeight);
    gl.uniform1f(uniforms.size, size * (canvas.width / canvas.clientWidth));
    gl.uniform1f(uniforms.share, share);
    gl.drawArrays(gl.POINTS, 0, this.count);
  }
}

class Plain {
  constructor(canvas) {
    Object.assign(this, { canvas, context: canvas.getContext("2d"), now: new Float32Array(0) });
  }

  place(_before, now) {
    this.now = now;
  }

  colour(rgba) {
    this.rgba = rgba;
  }

  draw(view, size) {
    const { canvas, context, now, rgba } = this;
    const { width, height } = canvas;
    context.clearRect(0, 0, width, height);
    if (!now.length || !rgba || !width || !height) return;
    if (this.image?.width !== width || this.image.height !== height) this.image = context.createImageData(width, height);
    const pixels = new Uint32Array(this.image.data.buffer).fill(0);
    const colours = new Uint32Array(rgba.buffer);
    const ratio = width / canvas.clientWidth;
    const side = Math.max(1, Math.round(size * ratio * 0.85));
    const scale = view.scale * ratio;
    const right = width / 2 - view.x * scale - side / 2 + 0.5;
    const down = height / 2 + view.y * scale - side / 2 + 0.5;
    for (let id = 0; id < colours.length; id++) {
      const left = Math.floor(right + now[2 * id] * scale);
      const top = Math.floor(down - now[2 * id + 1] * scale);
      if (!(left > -side && top > -side && left < width && top < height)) continue;
      const first = Math.max(0, left);
      const last = Math.min(width, left + side);
      for (let y = Math.max(0, top); y < Math.min(height, top + side); y++)
        for (let place = y * width + first; place < y * width + last; place++) pixels[place] = colours[id];
    }
    context.putImageData(this.image, 0, 0);
  }
}
