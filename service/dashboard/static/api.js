// Requests to this service's API, with what the session must show to change something.

/** A problem document (application/problem+json) as an error. */
export class Problem extends Error {
  constructor(document) {
    super(document.detail);
    this.document = document;
  }
}

/** The session's token; empty where nobody is signed in. */
export function csrfToken() {
  return document.querySelector('meta[name="csrf-token"]')?.content ?? "";
}

/** Send JSON (or nothing), with further headers, and return the answer's JSON (or null). Throws a Problem. */
export async function send(method, address, body, further = {}) {
  const headers = { accept: "application/json", "x-csrf-token": csrfToken(), ...further };
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(address, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem({ detail: "the service cannot be reached", mend: "check your connection and try again" });
  }
  if (answer.status === 204) return null;
  const told = (answer.headers.get("content-type") ?? "").includes("json") ? await answer.json() : null;
  if (!answer.ok) throw new Problem(told ?? { detail: `the service answered ${answer.status}` });
  return told;
}
