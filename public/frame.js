// In another site's frame, as a Space is shown (docs/identity.md, In a Hugging Face Space).
(() => {
  // A browser that keeps nothing of a framed site has no chat there: Chainlit's page needs its storage.
  const keepsNothing = () => {
    try {
      localStorage.getItem("parley");
      return false;
    } catch {
      return true;
    }
  };
  if (window.top !== window && keepsNothing()) {
    document.addEventListener("DOMContentLoaded", () => {
      const link = document.createElement("a");
      Object.assign(link, { href: location.href, target: "_blank", rel: "noopener", id: "own-tab" });
      link.textContent = "Open Parley in its own tab";
      const why = document.createElement("p");
      why.textContent = "This browser keeps nothing for a page inside another site's page.";
      document.body.replaceChildren(why, link);
    });
    return;
  }

  // A tab in which somebody has signed in tells the frame that opened it, and nobody else.
  const code = document.querySelector("[data-frame-code]")?.dataset.frameCode;
  if (code && window.opener) window.opener.postMessage({ parleyFrameCode: code }, location.origin);

  // The frame goes on with what the tab says.
  const form = document.querySelector("form[data-frame]");
  if (!form) return;
  window.addEventListener("message", (event) => {
    const said = event.data?.parleyFrameCode;
    if (event.origin !== location.origin || typeof said !== "string") return;
    form.elements.code.value = said;
    form.requestSubmit();
  });
})();
