// Asked for only when the server wants to know who uploads.

import { useEffect, useRef } from "preact/hooks";
import type { Session } from "../transfer/session.ts";

export function SignIn({ session, refresh, waiting }: { session: Session; refresh: () => void; waiting: boolean }) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const refused = session.tokenRefused;
  return (
    <section class="sign-in" aria-labelledby="sign-in-title">
      <h2 id="sign-in-title">Sign in</h2>
      <p>
        {waiting ? "Your uploads go on as soon as you are signed in. " : ""}
        The server needs a token. Who runs it makes one with <code>partwise token create</code>.
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const token = field.current?.value.trim() ?? "";
          if (!token) return;
          session.signIn(token);
          refresh();
        }}
      >
        <label for="token">Token</label>
        <input ref={field} id="token" name="token" type="password" autocomplete="current-password" spellcheck={false} required aria-describedby={refused ? "refused" : undefined} />
        <button type="submit" class="primary">
          Sign in
        </button>
      </form>
      {refused && (
        <p id="refused" class="refusal" role="alert">
          The server does not know this token. It may be mistyped, or revoked.
        </p>
      )}
    </section>
  );
}
