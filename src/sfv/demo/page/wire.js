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
  let parts = []; // what has come and was not given yet
  let length = 0; // their bytes
  let wanted = LENGTHS; // bytes of the first message, as far as is known
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    parts.push(value);
    length += value.length;
    if (length < wanted) continue; // a large message comes in many parts, which are joined once
    let received = joined(parts, length);
    for (wanted = messageSize(received); wanted && received.length >= wanted; wanted = messageSize(received)) {
      yield parse(received.slice(0, wanted).buffer);
      received = received.subarray(wanted);
    }
    [parts, length] = [[received], received.length];
  }
}

function joined(parts, length) {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
