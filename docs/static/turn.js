// A plotly figure is drawn when its fold is first opened; the script comes from the folder of this one.
const here = document.currentScript.src;
for (const fold of document.querySelectorAll("details.turn")) {
  fold.addEventListener("toggle", () => {
    const draw = () => {
      const figure = JSON.parse(fold.querySelector("script").textContent);
      window.Plotly.newPlot(fold.querySelector("div"), figure.data, figure.layout, { responsive: true });
    };
    if (window.Plotly) return draw();
    const script = document.createElement("script");
    script.src = new URL("plotly.min.js", here).href;
    script.onload = draw;
    document.head.append(script);
  }, { once: true });
}
