// Asked for only when the server wants to know who uploads.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Session, SignedIn } from "../transfer/session.ts";

const REFUSALS: Readonly<Record<Exclude<SignedIn, "yes">, string>> = {
  refused: "The server does not know this token. It may be mistyped, or revoked.",
  unreachable: "The server does not answer. Try again in a moment.",
};

interface Props {
  session: Session;
  refresh: () => void;
  /** Whether uploads wait for it. */
  waiting: boolean;
}

export function SignIn(props: Props) {
  return props.session.takesTokens ? <TokenForm {...props} /> : <Elsewhere {...props} />;
}

/** The application or the proxy around this page signs people in. */
function Elsewhere({ session, refresh, waiting }: Props) {
  const again = () => {
    session.again();
    refresh();
  };
  return (
    <section class="sign-in" aria-labelledby="sign-in-title">
      <h2 id="sign-in-title">You are signed out</h2>
      <p>
        Sign in to the application that this page belongs to, in another tab{waiting ? ". Your uploads go on after that" : ""}. Then try again.
      </p>
      <button type="button" class="primary" onClick={again}>
        Try again
      </button>
    </section>
  );
}

function TokenForm({ session, refresh, waiting }: Props) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const [outcome, setOutcome] = useState<SignedIn>(session.tokenRefused ? "refused" : "yes");
  const [busy, setBusy] = useState(false);
  const signIn = async (token: string) => {
    setBusy(true);
    const became = await session.signIn(token);
    setBusy(false);
    setOutcome(became);
    if (became === "yes") refresh();
  };
  const refused = outcome !== "yes";
  return (
    <section class="sign-in" aria-labelledby="sign-in-title">
      <h2 id="sign-in-title">Sign in</h2>
      <p>
        {waiting ? "Your uploads go on as soon as you are signed in. " : ""}
        This server asks for a token. Whoever runs it can make you one with <code>partwise token create</code>.
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const token = field.current?.value.trim() ?? "";
          if (token && !busy) void signIn(token);
        }}
      >
        <label for="token">Token</label>
        <input ref={field} id="token" name="token" type="password" autocomplete="current-password" spellcheck={false} required aria-describedby={refused ? "refused" : undefined} />
        <button type="submit" class="primary" aria-disabled={busy}>
          Sign in
        </button>
      </form>
      {refused && (
        <p id="refused" class="refusal" role="alert">
          {REFUSALS[outcome]}
        </p>
      )}
    </section>
  );
}
