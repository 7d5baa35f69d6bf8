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
  const WORDS = {
    en: ["This browser keeps nothing for a page inside another site's page.", "Open Parley in its own tab"],
    de: ["Dieser Browser merkt sich nichts für eine Seite in der Seite eines anderen Anbieters.", "Parley in einem eigenen Tab öffnen"],
    fr: ["Ce navigateur ne conserve rien pour une page affichée dans celle d'un autre site.", "Ouvrir Parley dans son propre onglet"],
    es: ["Este navegador no guarda nada para una página dentro de la de otro sitio.", "Abrir Parley en su propia pestaña"],
    zh: ["此浏览器不会为嵌入其他网站的页面保存任何内容。", "在单独的标签页中打开 Parley"],
    ja: ["このブラウザーは、他サイトに埋め込まれたページのデータを保存しません。", "Parley を別のタブで開く"],
  };
  const known = (navigator.languages ?? []).map((tag) => tag.split("-")[0]).find((tag) => WORDS[tag]);
  if (window.top !== window && keepsNothing()) {
    document.addEventListener("DOMContentLoaded", () => {
      const link = document.createElement("a");
      Object.assign(link, { href: location.href, target: "_blank", rel: "noopener", id: "own-tab" });
      const [reason, way] = WORDS[known ?? "en"];
      link.textContent = way;
      const why = document.createElement("p");
      why.textContent = reason;
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
