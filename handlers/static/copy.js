// Buttons that copy what an element shows. Without this module they stay hidden and the text can be selected.
const said = document.getElementById("copied");

async function copy(element) {
  const text = element.textContent.trim();
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Outside of TLS and localhost browsers offer only this.
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  if (!document.execCommand("copy")) throw new Error("refused");
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  const usual = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    let told = "Copied";
    try {
      await copy(document.getElementById(button.dataset.copy));
    } catch {
      told = "Select the text and copy it";
    }
    button.textContent = told;
    if (said) said.textContent = told;
    setTimeout(() => { button.textContent = usual; }, 2000);
  });
}
