// A picture may also be dropped or pasted; choosing one searches at once.
"use strict";

(() => {
  const form = document.getElementById("upload"), file = form.querySelector("input[type=file]");
  const MOST = 16 * 2 ** 20;

  function take(files) {
    const picture = [...files].find((one) => one.type.startsWith("image/"));
    if (!picture) return;
    const carried = new DataTransfer();
    carried.items.add(picture);
    file.files = carried.files;
    send();
  }

  function send() {
    if (!file.files.length) return;
    if (file.files[0].size > MOST) {
      document.getElementById("results").innerHTML = notice("The picture has more than 16 MiB; choose a smaller one.");
      return;
    }
    form.requestSubmit();
  }

  file.addEventListener("change", send);
  addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
  addEventListener("dragleave", () => form.classList.remove("over"));
  addEventListener("drop", (event) => { event.preventDefault(); form.classList.remove("over"); take(event.dataTransfer.files); });
  addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
})();
