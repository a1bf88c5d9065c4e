// The model's networks in ONNX Runtime: by WebAssembly (the reference) or by WebGPU.

import { download } from "./download.js";

const RUNTIMES = {
  wasm: { script: "runtime/ort.wasm.min.js", loader: "runtime/ort-wasm-simd-threaded.js", code: "runtime/ort-wasm-simd-threaded.wasm" },
  webgpu: { script: "runtime/ort.webgpu.min.js", loader: "runtime/ort-wasm-simd-threaded.asyncify.js", code: "runtime/ort-wasm-simd-threaded.asyncify.wasm" },
};
const address = (path) => new URL(path, import.meta.url).href;

export class Networks {
  /** Fetch and open everything; `backend` is "wasm" or "webgpu", `progress(bytes, of how many)`. */
  static async open(backend, threads, progress) {
    const facts = await (await fetch(address("model/onnx.json"))).json();
    const { script, loader, code } = RUNTIMES[backend];
    const graphs = Object.keys(facts.inputs);
    const files = await download([code, ...graphs.map((name) => `model/${name}`)], progress);
    const ort = await import(address(script));
    Object.assign(ort.env.wasm, { numThreads: threads, wasmBinary: files[code], wasmPaths: { mjs: address(loader), wasm: address(code) } });
    ort.env.logLevel = "error";
    const sessions = {};
    for (const name of graphs) {
      const path = `model/${name}`;
      sessions[name] = await ort.InferenceSession.create(new Uint8Array(files[path]), { executionProviders: [backend], graphOptimizationLevel: "all", logSeverityLevel: 3 });
      delete files[path];
    }
    return new Networks(ort, sessions, facts, backend);
  }

  constructor(ort, sessions, facts, backend) {
    Object.assign(this, { ort, sessions, facts, backend });
  }

  has(name) {
    return `${name}.onnx` in this.sessions;
  }

  /** One network's outputs by name, each {data, dims}; inputs are [data, dims] by name. */
  async call(name, inputs) {
    const feeds = Object.fromEntries(Object.entries(inputs).map(([key, [data, dims]]) => [key, new this.ort.Tensor("float32", data, dims)]));
    const outputs = await this.sessions[`${name}.onnx`].run(feeds);
    const found = {};
    for (const [key, tensor] of Object.entries(outputs)) {
      found[key] = { data: await tensor.getData(true), dims: tensor.dims };
      tensor.dispose();
    }
    return found;
  }
}
