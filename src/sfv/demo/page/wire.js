// The binary messages that carry clips: u32 head length, u32 body length (little endian), JSON head, RGBA frames.

const LENGTHS = 8; // bytes of the two lengths

/** Bytes of the first message in `bytes`, 0 if its lengths have not arrived. */
export function messageSize(bytes) {
  if (bytes.length < LENGTHS) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, LENGTHS);
  return LENGTHS + view.getUint32(0, true) + view.getUint32(4, true);
}

/** One message as its head's fields and `data`, its frames (null if it has none). */
export function parse(buffer) {
  const view = new DataView(buffer);
  const start = LENGTHS + view.getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, LENGTHS, start - LENGTHS)));
  const size = view.getUint32(4, true);
  return { ...head, data: size ? new Uint8ClampedArray(buffer, start, size) : null };
}

/** The messages of a response, each as soon as it is complete. */
export async function* messages(response) {
  const reader = response.body.getReader();
  let received = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    received = concatenate(received, value);
    for (let size = messageSize(received); size && received.length >= size; size = messageSize(received)) {
      yield parse(received.slice(0, size).buffer);
      received = received.subarray(size);
    }
  }
}

function concatenate(a, b) {
  if (!a.length) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
